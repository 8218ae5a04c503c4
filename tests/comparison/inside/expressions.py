"""Views whose statements are built in Python, and hide what they do."""

from __future__ import annotations

from typing import Any

from common import names
from kit import Side, attempt, rows, view
from sqlalchemy import delete, func, insert, literal, select, text, update


@view()
def cte_of_an_insert(side: Side) -> Any:
    """Read from a CTE that writes, built in Python."""
    inserted = insert(side.Item).values(id=3, name="three").returning(side.Item.id).cte("added")
    return [attempt(lambda: rows(side.session.execute(select(inserted.c.id)))), names(side)]


@view()
def literal_column(side: Side) -> Any:
    """Hide a call in a prefix, a suffix and an operator made of a string."""
    told = []
    for query in (
        select(side.Item.id).prefix_with("/* */").where(side.Item.id == 1),
        select(side.Item.id).where(side.Item.id == 1).suffix_with("FOR UPDATE"),
        select(literal("x").op("||")(literal("y"))),
    ):
        told.append(attempt(lambda one=query: rows(side.session.execute(one))))
        told.append(side.outside("UPDATE item SET value = value + 1 WHERE id = 1"))
    return told


@view()
def columns_of_a_text(side: Side) -> Any:
    """Name the columns of an insert as text, and read them as objects."""
    returning_text = text("INSERT INTO item (id, name, value) VALUES (3, 'x', 1) RETURNING *")
    query = select(side.Item).from_statement(returning_text)
    return [attempt(lambda: side.session.scalars(query).one().name), names(side)]


@view()
def union_and_exists(side: Side) -> Any:
    """Read by UNION, EXISTS, aggregates and windows, then write."""
    item = side.Item
    told = [
        rows(side.session.execute(select(item.id).union(select(item.value)).order_by("id"))),
        side.session.scalar(select(select(item.id).where(item.id == 1).exists())),
        rows(side.session.execute(select(func.sum(item.value).over(order_by=item.id)))),
        side.session.scalar(select(func.coalesce(func.max(item.value), 0))),
        side.session.scalar(select(func.lower(item.name)).where(item.id == 1)),
    ]
    side.session.execute(update(item).where(item.id == 1).values(value=1))
    side.session.execute(delete(side.Child))
    side.session.commit()
    return [str(one) for one in told]
