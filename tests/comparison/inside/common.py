"""What views of all themes share: an item to add, and ways to look."""

from __future__ import annotations

from kit import Side
from sqlalchemy import func, select, text

COUNT = "SELECT count(*) FROM item"
SEE = text(COUNT)
PUT = text("INSERT INTO item (id, name) VALUES (:id, :name)")
AFTER = text("INSERT INTO item (id, name) VALUES (3, 'after')")
THREE = {"id": 3, "name": "three"}
FOUR = {"id": 4, "name": "four"}
RIVAL = "INSERT INTO item (id, name) VALUES (4, 'rival')"


def names(side: Side) -> list[str]:
    """Give the names of all items, as the session sees them."""
    return list(side.session.scalars(select(side.Item.name).order_by(side.Item.id)))


def count(side: Side) -> int:
    """Count the items, as the session sees them."""
    found: int = side.session.scalar(select(func.count()).select_from(side.Item))
    return found


def put(side: Side, name: str) -> None:
    """Add an item and flush it."""
    side.session.add(side.Item(name=name))
    side.session.flush()
