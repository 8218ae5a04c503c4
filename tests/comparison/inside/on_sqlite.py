"""Views that only SQLite allows."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import partial
from typing import Any

from common import names
from kit import SQLITE, Side, fail, rows
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
