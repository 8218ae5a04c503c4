"""Views that work with objects."""

from __future__ import annotations

from typing import Any

from common import count, names
from kit import Side, view
from sqlalchemy import func, select


@view()
def add_and_commit(side: Side) -> Any:
    """Add, commit, read what the commit expired, and look."""
    item = side.Item(name="new")
    side.session.add(item)
    side.session.commit()
    return [item.name, item.id, count(side)]


@view()
def read_change_commit(side: Side) -> Any:
    """Read, change and commit, twice."""
    item = side.session.get(side.Item, 1)
    item.value += 1
    side.session.commit()
    item.value += 1
    side.session.commit()
    return item.value


@view()
def change_without_commit(side: Side) -> Any:
    """Change an object, let a read flush it, and never commit."""
    side.session.get(side.Item, 1).value = 77
    return side.session.scalar(select(func.sum(side.Item.value)))


@view()
def refresh_after_a_rival(side: Side) -> Any:
    """Read, let somebody else change the row, refresh."""
    item = side.session.get(side.Item, 1)
    before = item.value
    told = side.outside("UPDATE item SET value = 99 WHERE id = 1")
    side.session.refresh(item)
    return [before, told, item.value]


@view()
def refresh_with_a_lock(side: Side) -> Any:
    """Refresh with FOR UPDATE, which must keep somebody else out."""
    item = side.session.get(side.Item, 1)
    side.session.refresh(item, with_for_update=True)
    return [side.outside("UPDATE item SET value = 99 WHERE id = 1"), item.value]


@view()
def get_with_a_lock(side: Side) -> Any:
    """Get by key FOR UPDATE and change what was read."""
    item = side.session.get(side.Item, 1, with_for_update=True)
    told = side.outside("UPDATE item SET value = 99 WHERE id = 1")
    item.value += 5
    side.session.commit()
    return [told, item.value]


@view()
def select_with_a_lock(side: Side) -> Any:
    """Select FOR UPDATE of one entity after a plain read."""
    before = names(side)
    side.session.scalars(select(side.Item).with_for_update(read=True)).all()
    return [before, side.outside("UPDATE item SET value = 99 WHERE id = 1")]


@view()
def expire_and_read(side: Side) -> Any:
    """Expire an object and everything, and touch both."""
    item = side.session.get(side.Item, 1)
    side.session.expire(item)
    first = item.name
    side.session.expire_all()
    return [first, item.value]
