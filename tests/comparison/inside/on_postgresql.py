"""Views that use psycopg: COPY, pipelines, cursors that the server keeps."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import Any

from common import SEE, names
from kit import POSTGRESQL, Side, attempt, rows
from kit import view as register
from psycopg.rows import dict_row
from sqlalchemy import text

view = partial(register, on=(POSTGRESQL,))
COPY = "COPY item (id, name) FROM STDIN"


def copy_in(cursor: Any, lines: str = "3\tcopied\n") -> None:
    """Copy lines into the items."""
    with cursor.copy(COPY) as copying:
        copying.write(lines)


@view()
def copy_of_the_engine(side: Side) -> Any:
    """Copy in a block that commits."""
    with side.engine.begin() as connection, connection.connection.cursor() as cursor:
        copy_in(cursor)
    return names(side)


@view()
def copy_of_the_session(side: Side) -> Any:
    """Read, copy on the session's connection, and commit."""
    names(side)
    with side.session.connection().connection.cursor() as cursor:
        copy_in(cursor)
    side.session.commit()
    return names(side)


@view()
def copy_refused(side: Side) -> Any:
    """Copy a duplicate, catch it, roll back and go on."""
    with side.session.connection().connection.cursor() as cursor:
        told = attempt(copy_in, cursor, "3\tnew\n4\tone\n")
    failed = attempt(names, side)
    side.session.rollback()
    return [told, failed, names(side)]


@view()
def copy_out(side: Side) -> Any:
    """Copy out what the transaction wrote, and forget it."""
    side.session.add(side.Item(id=3, name="new"))
    side.session.flush()
    with (
        side.session.connection().connection.cursor() as cursor,
        cursor.copy("COPY (SELECT id, name FROM item ORDER BY id) TO STDOUT") as copying,
    ):
        return [list(row) for row in copying.rows()]


@view()
def driver_transaction(side: Side) -> Any:
    """Use psycopg's own transaction block on the driver's connection, and fail in it."""
    with side.engine.connect() as connection:
        driver = connection.connection.driver_connection
        with driver.transaction():
            driver.execute("INSERT INTO item (id, name) VALUES (3, 'kept?')")
        inside = driver.execute("SELECT count(*) FROM item").fetchone()[0]
    return [inside, names(side)]


@view()
def driver_status(side: Side) -> Any:
    """Ask the driver for its transaction's status after a read and after a write."""
    driver = side.session.connection().connection.driver_connection
    side.session.add(side.Item(name="new"))
    side.session.flush()
    told = driver.info.transaction_status.name
    side.session.rollback()
    return told


@view()
def driver_autocommit(side: Side) -> Any:
    """Set the driver's connection to autocommit by hand, write and roll back."""
    with closing(side.engine.raw_connection()) as connection:
        driver = connection.driver_connection
        driver.autocommit = True
        driver.execute("INSERT INTO item (id, name) VALUES (3, 'kept')")
        driver.rollback()
        driver.autocommit = False
    return names(side)


@view()
def driver_pipeline(side: Side) -> Any:
    """Send two writes in psycopg's pipeline and forget them."""
    with side.engine.connect() as connection:
        driver = connection.connection.driver_connection
        with driver.pipeline():
            driver.execute("INSERT INTO item (id, name) VALUES (3, 'a')")
            driver.execute("INSERT INTO item (id, name) VALUES (4, 'b')")
        inside = rows(connection.execute(SEE))
    return [inside, names(side)]


@view()
def named_cursor(side: Side) -> Any:
    """Read through a cursor that the server keeps."""
    driver = side.session.connection().connection.driver_connection
    with driver.cursor("kept") as cursor:
        cursor.execute("SELECT name FROM item ORDER BY id")
        return [cursor.fetchone()[0], cursor.fetchone()[0], cursor.fetchone()]


@view()
def named_cursor_of_the_engine(side: Side) -> Any:
    """Stream from the engine's connection while writing on it."""
    with side.engine.connect() as connection:
        streamed = connection.execution_options(stream_results=True, max_row_buffer=1)
        result = streamed.execute(text("SELECT id FROM item ORDER BY id"))
        first = result.fetchone()[0]
        connection.execute(text("INSERT INTO item (id, name) VALUES (3, 'x')"))
        told = [first, rows(result)]
        connection.rollback()
    return told


@view()
def rows_as_dictionaries(side: Side) -> Any:
    """Read through a cursor of another shape, and find the driver's autocommit as it was."""
    driver = side.session.connection().connection.driver_connection
    with driver.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute("SELECT name FROM item ORDER BY id").fetchall()
    return [found, names(side), driver.autocommit]


@view()
def driver_notices(side: Side) -> Any:
    """Hear what a statement says beside its rows."""
    heard: list[str] = []
    driver = side.session.connection().connection.driver_connection

    def note(notice: Any) -> None:
        heard.append(notice.message_primary)

    driver.add_notice_handler(note)
    side.session.execute(text("DO $$ BEGIN RAISE NOTICE 'look'; END $$"))
    driver.remove_notice_handler(note)
    return heard


@view()
def driver_pipeline_with_a_read(side: Side) -> Any:
    """Read by the session in psycopg's pipeline, whose rows SQLAlchemy does not wait for."""
    with side.session.connection().connection.driver_connection.pipeline():
        return attempt(side.session.scalar, text("SELECT 1"))
