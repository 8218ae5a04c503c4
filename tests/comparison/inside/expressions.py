"""Views whose statements are built in Python, and hide what they do."""

from __future__ import annotations

from typing import Any

from common import PUT, SEE, THREE, names
from kit import Side, attempt, fail, plain, rows, view
from sqlalchemy import case, delete, func, insert, literal, select, text, update


@view()
def cte_of_an_insert(side: Side) -> Any:
    """Read from a CTE that writes, built in Python."""
    inserted = insert(side.Item).values(id=3, name="three").returning(side.Item.id).cte("added")
    return [attempt(lambda: rows(side.session.execute(select(inserted.c.id)))), names(side)]


@view()
def function_in_a_select(side: Side) -> Any:
    """Call a function that writes from a select built in Python, and roll back."""
    told = attempt(side.session.scalar, select(func.add_item("by func")))
    side.session.rollback()
    return [told, names(side)]


@view()
def function_under_a_column(side: Side) -> Any:
    """Hide the function in a label, a CASE and a subquery, and fail to commit."""
    deep = case((func.add_item("by case") == 1, 1), else_=0).label("id")
    inner = select(deep).subquery()
    return attempt(lambda: rows(side.session.execute(select(inner.c.id + literal(1)))))


@view()
def function_in_an_order(side: Side) -> Any:
    """Call the function from an ORDER BY of entities, and fail."""
    query = select(side.Item).where(side.Item.id == 1).order_by(func.add_item("by order"))
    attempt(lambda: side.session.scalars(query).all())
    fail()


@view()
def text_in_a_select(side: Side) -> Any:
    """Hide a call in text() inside a select, and roll back."""
    query = select(side.Item.id, text("add_item('by text')")).where(side.Item.id == 1)
    told = attempt(lambda: rows(side.session.execute(query)))
    side.session.rollback()
    return [told, names(side)]


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


@view()
def driver_sql_with_parameters(side: Side) -> Any:
    """Send driver's SQL with parameters on a connection, and commit."""
    mark = "?" if side.family == "sqlite" else "%s"
    with side.engine.begin() as connection:
        connection.exec_driver_sql(
            f"INSERT INTO item (id, name) VALUES ({mark}, {mark})", (3, "100 % sure")
        )
        return plain(connection.exec_driver_sql("SELECT name FROM item WHERE id = 3"))


@view()
def no_cursor_left(side: Side) -> Any:
    """Leave a result half read, and use the connection on."""
    with side.engine.connect() as connection:
        half = connection.execute(text("SELECT id FROM item ORDER BY id"))
        first = half.fetchone()[0]
        connection.execute(PUT, THREE)
        connection.commit()
        return [first, rows(connection.execute(SEE))]
