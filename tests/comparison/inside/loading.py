"""Views that load objects through relationships, keys and portions."""

from __future__ import annotations

from typing import Any

from common import count
from kit import Side, attempt, view
from sqlalchemy import func, inspect, select
from sqlalchemy.orm import joinedload, selectinload, subqueryload


@view()
def lazy_loads(side: Side) -> Any:
    """Follow a relationship in both directions, lazily."""
    item = side.session.get(side.Item, 1)
    return [[child.name for child in item.children], item.children[0].item.name]


@view()
def lazy_load_after_a_rival(side: Side) -> Any:
    """Load children that somebody else added after the parent was read."""
    item = side.session.get(side.Item, 2)
    told = side.outside("INSERT INTO child (id, item_id, name) VALUES (7, 2, 'late')")
    return [told, [child.name for child in item.children]]


@view()
def eager_loads(side: Side) -> Any:
    """Load children in three ways."""
    found = []
    for load in (joinedload, selectinload, subqueryload):
        side.session.expunge_all()
        query = select(side.Item).options(load(side.Item.children)).order_by(side.Item.id)
        found.append([len(item.children) for item in side.session.scalars(query).unique()])
    return found


@view()
def detached_after_close(side: Side) -> Any:
    """Keep an object after the session is closed, and touch what is not loaded."""
    item = side.session.get(side.Item, 1)
    side.session.close()
    return [item.name, inspect(item).detached, attempt(lambda: len(item.children))]


@view()
def merge(side: Side) -> Any:
    """Merge a detached copy and a new object."""
    changed = side.session.merge(side.Item(id=1, name="one", value=41))
    new = side.session.merge(side.Item(id=30, name="thirty"))
    side.session.commit()
    return [changed.value, new.name]


@view()
def identity(side: Side) -> Any:
    """Get the same object twice, across a commit too."""
    first = side.session.get(side.Item, 1)
    same = first is side.session.scalar(select(side.Item).where(side.Item.id == 1))
    side.session.commit()
    return [same, first is side.session.get(side.Item, 1), side.session.get(side.Item, 99)]


@view(ways=("GET", "POST", "HEAD", "OPTIONS"))
def get_or_404(side: Side) -> Any:
    """Write, then end with Flask-SQLAlchemy's own 404."""
    side.session.add(side.Item(name="before a 404"))
    side.session.flush()
    return side.db.get_or_404(side.Item, 99).name


@view()
def cascade(side: Side) -> Any:
    """Delete a parent and its children, read, and commit."""
    side.session.delete(side.session.get(side.Item, 1))
    left = count(side)
    side.session.commit()
    return [left, side.session.scalar(select(func.count()).select_from(side.Child))]


@view()
def delete_and_roll_back(side: Side) -> Any:
    """Delete, flush, roll back and use the object again."""
    item = side.session.get(side.Item, 1)
    side.session.delete(item)
    side.session.flush()
    side.session.rollback()
    return [item.name, count(side)]


@view()
def children_of_a_new_one(side: Side) -> Any:
    """Add a graph and a child by relationship alone."""
    item = side.Item(name="parent", children=[side.Child(name="a"), side.Child(name="b")])
    side.session.add(item)
    side.session.get(side.Item, 2).children.append(side.Child(name="c"))
    side.session.commit()
    return [len(item.children), item.children[1].item_id == item.id]
