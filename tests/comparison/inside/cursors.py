"""Views that use cursors of the driver: many values, errors, rows left unread."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from common import SEE, names
from kit import Side, attempt, rows, view
from raw import LOOK, MORE, PUT, send


@view()
def many_with_a_cursor(side: Side) -> Any:
    """Use the cursor's own executemany, and commit."""
    mark = "?" if side.family == "sqlite" else "%s"
    with closing(side.engine.raw_connection()) as connection:
        with closing(connection.cursor()) as cursor:
            cursor.executemany(
                f"INSERT INTO item (id, name) VALUES ({mark}, {mark})", [(3, "a"), (4, "b")]
            )
        connection.commit()
    return names(side)


@view()
def error_of_a_cursor(side: Side) -> Any:
    """Meet a duplicate on a cursor, go on with it, and commit the session."""
    driver = side.session.connection().connection
    told = [
        attempt(send, driver, "INSERT INTO item (id, name) VALUES (9, 'one')"),
        attempt(send, driver, PUT),
        attempt(side.session.commit),
    ]
    return [*told, attempt(names, side)]


@view()
def cursor_left_open(side: Side) -> Any:
    """Leave a cursor open with rows unread, and go on with the session."""
    cursor = side.session.connection().connection.cursor()
    cursor.execute(LOOK)
    first = list(cursor.fetchone())
    side.session.add(side.Item(name="after"))
    side.session.commit()
    return [first, names(side)]


@view()
def cursor_and_statement(side: Side) -> Any:
    """Write raw on the engine's connection, read by SQLAlchemy, and forget."""
    with side.engine.connect() as connection:
        send(connection.connection, PUT)
        inside = rows(connection.execute(SEE))
    return [inside, names(side)]


@view()
def raw_after_autocommit(side: Side) -> Any:
    """Write raw on a connection in AUTOCOMMIT, then raw on an ordinary one."""
    with side.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        send(connection.connection, PUT)
    with closing(side.engine.raw_connection()) as ordinary:
        send(ordinary, MORE)
    return names(side)
