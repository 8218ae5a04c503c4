"""Views that use the engine and its connections without a session's objects."""

from __future__ import annotations

from typing import Any

from common import FOUR, PUT, SEE, THREE, names
from kit import SERVERS, Side, attempt, rows, view
from sqlalchemy import insert


@view()
def connect_commit_rollback(side: Side) -> Any:
    """Commit one write and undo the next on one connection."""
    with side.engine.connect() as connection:
        connection.execute(PUT, THREE)
        connection.commit()
        connection.execute(PUT, FOUR)
        connection.rollback()
        return rows(connection.execute(SEE))


@view()
def connect_and_begin(side: Side) -> Any:
    """Begin by hand on a connection, before and after a read."""
    with side.engine.connect() as connection:
        with connection.begin():
            connection.execute(PUT, THREE)
        connection.execute(SEE)
        return attempt(connection.begin)


@view()
def nested(side: Side) -> Any:
    """Undo a savepoint on a connection and keep what is around it."""
    with side.engine.begin() as connection:
        connection.execute(SEE)
        with connection.begin_nested() as inner:
            connection.execute(PUT, THREE)
            inner.rollback()
        connection.execute(PUT, FOUR)
    return names(side)


@view()
def autocommit_engine(side: Side) -> Any:
    """Make an engine with AUTOCOMMIT of the engine, write, and roll back in vain."""
    engine = side.engine.execution_options(isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(PUT, THREE)
        connection.rollback()
    return names(side)


@view(on=SERVERS)
def level_engine(side: Side) -> Any:
    """Make an engine with REPEATABLE READ and read twice around a rival."""
    engine = side.engine.execution_options(isolation_level="REPEATABLE READ")
    with engine.connect() as connection:
        first = rows(connection.execute(SEE))
        told = side.outside("INSERT INTO item (id, name) VALUES (9, 'rival')")
        second = rows(connection.execute(SEE))
    with side.engine.connect() as connection:
        return [first, told, second, connection.get_isolation_level()]


@view()
def many_at_once(side: Side) -> Any:
    """Execute one insert many times, then fail to commit."""
    side.session.execute(PUT, [{"id": 20 + n, "name": f"n{n}"} for n in range(5)])
    inside = side.session.scalar(SEE)
    side.session.rollback()
    side.session.execute(insert(side.Item), [{"name": f"m{n}"} for n in range(5)])
    side.session.commit()
    return [inside, side.session.scalar(SEE)]


@view()
def returning(side: Side) -> Any:
    """Insert with RETURNING, several at once, and commit."""
    statement = insert(side.Item).returning(side.Item.name, sort_by_parameter_order=True)
    found = side.session.scalars(statement, [{"name": "a"}, {"name": "b"}]).all()
    side.session.commit()
    return [found, names(side)]
