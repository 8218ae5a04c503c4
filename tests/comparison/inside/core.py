"""Views that use the engine and its connections without a session's objects."""

from __future__ import annotations

from typing import Any

from common import FOUR, PUT, SEE, THREE, names
from kit import SERVERS, Side, attempt, fail, rows, view
from sqlalchemy import insert


@view()
def begin(side: Side) -> Any:
    """Commit by the end of a block."""
    with side.engine.begin() as connection:
        connection.execute(PUT, THREE)
    return names(side)


@view()
def begin_and_fail(side: Side) -> None:
    """Read first, write, then fail in the block."""
    with side.engine.begin() as connection:
        connection.execute(SEE)
        connection.execute(PUT, THREE)
        fail()


@view()
def connect_and_forget(side: Side) -> Any:
    """Write on a connection without a commit."""
    with side.engine.connect() as connection:
        connection.execute(PUT, THREE)
        inside = rows(connection.execute(SEE))
    return [inside, names(side)]


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
def autocommit_option(side: Side) -> Any:
    """Write in AUTOCOMMIT, and find the next transaction as it should be."""
    with side.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.execute(PUT, THREE)
        seen = side.outside("SELECT count(*) FROM item")
    with side.engine.connect() as connection:
        connection.execute(PUT, FOUR)
    return [seen, names(side)]


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
def many_with_a_duplicate(side: Side) -> Any:
    """Have the third of many inserts refused, and go on."""
    many = [{"id": 20, "name": "a"}, {"id": 21, "name": "b"}, {"id": 22, "name": "one"}]
    told = attempt(side.session.execute, PUT, many)
    side.session.rollback()
    side.session.execute(PUT, THREE)
    side.session.commit()
    return [told, names(side)]


@view()
def returning(side: Side) -> Any:
    """Insert with RETURNING, several at once, and commit."""
    statement = insert(side.Item).returning(side.Item.name, sort_by_parameter_order=True)
    found = side.session.scalars(statement, [{"name": "a"}, {"name": "b"}]).all()
    side.session.commit()
    return [found, names(side)]


@view()
def returning_forgotten(side: Side) -> Any:
    """Insert with RETURNING and never commit."""
    found = side.session.scalars(insert(side.Item).values(name="a").returning(side.Item.name))
    return [found.all(), side.outside("SELECT count(*) FROM item")]


@view()
def returning_unread(side: Side) -> Any:
    """Insert with RETURNING, read nothing of it, and commit."""
    side.session.execute(insert(side.Item).values(id=3, name="a").returning(side.Item.id))
    side.session.commit()
    return names(side)
