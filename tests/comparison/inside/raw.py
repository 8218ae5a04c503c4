"""Views that work with the driver's own connections and cursors."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from common import names
from kit import Side, attempt, plain, view
from sqlalchemy import text

PUT = "INSERT INTO item (id, name) VALUES (3, 'raw')"
MORE = "INSERT INTO item (id, name) VALUES (4, 'more')"
LOOK = "SELECT id, name FROM item ORDER BY id"


def send(connection: Any, statement: str) -> Any:
    """Send a statement on a cursor of a driver's connection."""
    with closing(connection.cursor()) as cursor:
        cursor.execute(statement)
        return plain(cursor)


@view()
def in_a_transaction_of_the_engine(side: Side) -> Any:
    """Write raw in a block that commits."""
    with side.engine.begin() as connection:
        send(connection.connection, PUT)
    return names(side)


@view()
def with_the_session(side: Side) -> Any:
    """Write raw and by object in one transaction, and commit."""
    side.session.add(side.Item(name="object"))
    side.session.flush()
    send(side.session.connection().connection, PUT)
    side.session.commit()
    return names(side)


@view()
def after_a_commit(side: Side) -> Any:
    """Keep the driver's connection over a commit of the session, and write once more."""
    driver = side.session.connection().connection
    send(driver, PUT)
    side.session.commit()
    told = attempt(send, side.session.connection().connection, MORE)
    return [told, side.outside("SELECT count(*) FROM item")]


@view()
def in_a_savepoint(side: Side) -> Any:
    """Write raw in a savepoint of the session that is undone."""
    with side.session.begin_nested() as nested:
        send(side.session.connection().connection, PUT)
        nested.rollback()
    side.session.execute(text(MORE))
    side.session.commit()
    return names(side)


@view()
def raw_connection_forgotten(side: Side) -> Any:
    """Write on a raw connection and lose it."""
    send(side.engine.raw_connection(), PUT)
    return "forgotten"


@view()
def driver_connection_committed(side: Side) -> Any:
    """Commit on the driver's own connection below SQLAlchemy's, then undo what follows."""
    with side.engine.connect() as connection:
        driver = connection.connection.driver_connection
        send(driver, PUT)
        driver.commit()
        send(driver, MORE)
        driver.rollback()
    return names(side)


@view()
def driver_connection_detached(side: Side) -> Any:
    """Detach the driver's connection, write, commit and close it."""
    proxied = side.engine.raw_connection()
    proxied.detach()
    driver = proxied.driver_connection
    send(driver, PUT)
    driver.commit()
    send(driver, MORE)
    driver.close()
    return names(side)
