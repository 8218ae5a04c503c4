"""Views that only SQLite allows."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import partial
from typing import Any

from common import names
from kit import SQLITE, Side, attempt, fail, rows
from kit import view as register
from sqlalchemy import text

view = partial(register, on=(SQLITE,))
PUT = "INSERT INTO item (id, name) VALUES (3, 'three')"


@view()
def script_of_the_driver(side: Side) -> Any:
    """Run a script by the driver's own method, and forget to commit."""
    with closing(side.engine.raw_connection()) as connection:
        connection.driver_connection.executescript(f"{PUT}; UPDATE item SET value = 1;")
    return names(side)


@view()
def script_in_a_transaction(side: Side) -> Any:
    """Run a script in a transaction of the engine that fails."""
    with side.engine.begin() as connection:
        connection.execute(text("INSERT INTO item (id, name) VALUES (4, 'four')"))
        connection.connection.driver_connection.executescript(f"{PUT};")
        fail()


@view()
def driver_in_transaction(side: Side) -> Any:
    """Ask the driver whether it is in a transaction after a write and a commit."""
    with closing(side.engine.raw_connection()) as connection:
        driver = connection.driver_connection
        driver.execute(PUT)
        told = [driver.in_transaction]
        driver.commit()
        return [*told, driver.in_transaction]


@view()
def driver_block(side: Side) -> Any:
    """Use the driver's connection as a block that fails, then one that commits."""
    with closing(side.engine.raw_connection()) as connection:
        driver = connection.driver_connection
        try:
            with driver:
                driver.execute(PUT)
                fail()
        except Exception:  # noqa: BLE001 - the rows are the answer
            with driver:
                driver.execute("INSERT INTO item (id, name) VALUES (4, 'four')")
    return names(side)


@view()
def ddl_rolls_back(side: Side) -> Any:
    """Make a table, and roll back."""
    side.session.execute(text("CREATE TABLE made (id INT)"))
    side.session.rollback()
    return attempt(lambda: rows(side.session.execute(text("SELECT * FROM made"))))


@view()
def function_of_python(side: Side) -> Any:
    """Call a function of Python's that the view added to the connection."""
    connection = side.session.connection()
    connection.connection.driver_connection.create_function("twice", 1, lambda n: 2 * n)
    return side.session.scalar(text("SELECT twice(21)"))


@view()
def blob_and_backup(side: Side) -> Any:
    """Copy the database into memory through the driver after a forgotten write."""
    with (
        closing(side.engine.raw_connection()) as connection,
        closing(sqlite3.connect(":memory:")) as copy,
    ):
        connection.driver_connection.backup(copy)
        return rows(copy.execute("SELECT name FROM item ORDER BY id"))


@view()
def savepoint_holds(side: Side) -> Any:
    """Undo a savepoint before which nothing was written, and commit."""
    with side.session.begin_nested() as nested:
        side.session.execute(text(PUT))
        nested.rollback()
    side.session.commit()
    return names(side)


@view()
def attach_and_detach(side: Side) -> Any:
    """Attach a database in AUTOCOMMIT, use it and detach it."""
    with side.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ATTACH ':memory:' AS extra")
        connection.exec_driver_sql("CREATE TABLE extra.t AS SELECT count(*) AS n FROM item")
        told = rows(connection.exec_driver_sql("SELECT n FROM extra.t"))
        connection.exec_driver_sql("DETACH extra")
    return told


@view()
def readers_lock_nobody(side: Side) -> Any:
    """Read in a session, and let somebody else write at once."""
    before = len(names(side))
    return [before, side.outside("INSERT INTO item (id, name) VALUES (4, 'rival')")]


@view()
def writer_locks(side: Side) -> Any:
    """Write in a session, and keep somebody else out until the commit."""
    side.session.execute(text(PUT))
    told = [side.outside("INSERT INTO item (id, name) VALUES (4, 'rival')")]
    side.session.commit()
    return [*told, side.outside("INSERT INTO item (id, name) VALUES (4, 'rival')")]
