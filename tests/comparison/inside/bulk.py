"""Views that change many rows at once, and those of the older query interface."""

from __future__ import annotations

from typing import Any

from common import count
from kit import Side, attempt, view
from sqlalchemy import delete, select, update


@view()
def bulk_update_and_delete(side: Side) -> Any:
    """Update and delete by query, with synchronised objects, and commit."""
    item = side.session.get(side.Item, 1)
    side.session.execute(update(side.Item).values(value=side.Item.value + 1))
    value = item.value
    gone = side.session.execute(delete(side.Child).where(side.Child.id == 1)).rowcount
    side.session.commit()
    return [value, item.value, gone]


@view()
def legacy_bulk(side: Side) -> Any:
    """Use the bulk methods of the session."""
    side.session.bulk_save_objects([side.Item(id=60 + n, name=f"bulk {n}") for n in range(3)])
    side.session.bulk_insert_mappings(side.Item, [{"id": 70, "name": "mapped"}])
    side.session.bulk_update_mappings(side.Item, [{"id": 1, "value": 3}])
    inside = count(side)
    side.session.commit()
    return [inside, count(side)]


@view()
def legacy_query(side: Side) -> Any:
    """Use Model.query: first, count, get, update and paginate."""
    query = side.Item.query.order_by(side.Item.id)
    changed = side.Item.query.filter_by(id=2).update({"value": 8})
    page = side.db.paginate(select(side.Item).order_by(side.Item.id), page=2, per_page=1)
    side.session.commit()
    return [query.first().name, query.count(), changed, [one.name for one in page], page.total]


@view()
def query_with_a_lock(side: Side) -> Any:
    """Use the legacy query's FOR UPDATE."""
    side.Item.query.with_for_update().all()
    return side.outside("UPDATE item SET value = 99 WHERE id = 1")


@view()
def autoflush_off(side: Side) -> Any:
    """Read without flushing, then with, and commit."""
    side.session.add(side.Item(name="new"))
    with side.session.no_autoflush:
        before = count(side)
    after = count(side)
    side.session.commit()
    return [before, after]


@view()
def yield_per(side: Side) -> Any:
    """Read in portions, and write when all is read."""
    query = select(side.Item).order_by(side.Item.id).execution_options(yield_per=1)
    found = [item.name for item in side.session.scalars(query)]
    side.session.add(side.Item(name="after"))
    side.session.commit()
    return found


@view()
def yield_per_abandoned(side: Side) -> Any:
    """Read the first of a portioned result, leave it, and write."""
    query = select(side.Item).order_by(side.Item.id).execution_options(yield_per=1)
    result = side.session.scalars(query)
    first = next(iter(result)).name
    result.close()
    side.session.add(side.Item(name="after"))
    side.session.commit()
    return [first, count(side)]


@view()
def write_after_a_stale_read(side: Side) -> Any:
    """Read, let somebody else change the row, write what was read plus one."""
    item = side.session.get(side.Item, 1)
    told = side.outside("UPDATE item SET value = 99 WHERE id = 1")
    item.value += 1
    return [told, attempt(side.session.commit), side.session.get(side.Item, 1).value]
