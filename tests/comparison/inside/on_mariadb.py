"""Views that use PyMySQL: its cursors, its own methods, procedures."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import Any

import pymysql
from common import SEE, names
from kit import MARIADB, Side, fail, rows
from kit import view as register
from sqlalchemy import text

view = partial(register, on=(MARIADB,))
PUT = "INSERT INTO item (id, name) VALUES (3, 'three')"


@view()
def unbuffered_cursor(side: Side) -> Any:
    """Read row by row through an unbuffered cursor."""
    driver = side.session.connection().connection.driver_connection
    with closing(driver.cursor(pymysql.cursors.SSCursor)) as cursor:
        cursor.execute("SELECT name FROM item ORDER BY id")
        return [row[0] for row in cursor.fetchall_unbuffered()]


@view()
def unbuffered_cursor_abandoned(side: Side) -> Any:
    """Leave an unbuffered cursor in the middle of many rows, and go on."""
    driver = side.session.connection().connection.driver_connection
    with closing(driver.cursor(pymysql.cursors.SSCursor)) as cursor:
        cursor.execute("SELECT seq FROM seq_1_to_2000")
        first = cursor.fetchone()[0]
    side.session.add(side.Item(name="after"))
    side.session.commit()
    return [first, names(side)]


@view()
def stream_results_abandoned(side: Side) -> Any:
    """Leave a streamed result in the middle, and use the connection on."""
    with side.engine.connect() as connection:
        streamed = connection.execution_options(stream_results=True)
        result = streamed.execute(text("SELECT seq FROM seq_1_to_2000"))
        first = result.fetchone()[0]
        result.close()
        return [first, rows(connection.execute(SEE))]


@view()
def driver_begin(side: Side) -> Any:
    """Begin by the driver's own method, write and roll back."""
    with closing(side.engine.raw_connection()) as connection:
        driver = connection.driver_connection
        driver.begin()
        driver.query(PUT)
        driver.rollback()
        driver.query("INSERT INTO item (id, name) VALUES (4, 'four')")
    return names(side)


@view()
def driver_query(side: Side) -> Any:
    """Write by the driver's query() below a transaction of the engine that fails."""
    try:
        with side.engine.begin() as connection:
            connection.connection.driver_connection.query(PUT)
            fail()
    except Exception:  # noqa: BLE001 - the rows are the answer
        return names(side)


@view()
def driver_autocommit(side: Side) -> Any:
    """Set autocommit by the driver's method, write, roll back, and set it back."""
    with closing(side.engine.raw_connection()) as connection:
        driver = connection.driver_connection
        before = driver.get_autocommit()
        driver.autocommit(True)
        driver.query(PUT)
        driver.rollback()
        driver.autocommit(before)
    return names(side)


@view()
def driver_ping_and_select_db(side: Side) -> Any:
    """Ping and choose the database in the middle of a transaction, then roll back."""
    with closing(side.engine.raw_connection()) as connection:
        driver = connection.driver_connection
        driver.query(PUT)
        driver.ping(reconnect=False)
        driver.select_db(side.mark)
        driver.rollback()
    return names(side)


@view()
def driver_callproc(side: Side) -> Any:
    """Call a procedure by the cursor's own method, and forget to commit."""
    with side.engine.connect() as connection, connection.connection.cursor() as cursor:
        cursor.callproc("put_item", ("by callproc",))
        inside = rows(connection.execute(SEE))
    return [inside, names(side)]


@view()
def procedure_with_rows(side: Side) -> Any:
    """Read all results of a procedure, then write, and roll back."""
    with closing(side.engine.raw_connection()) as connection:
        with closing(connection.cursor()) as cursor:
            cursor.execute("CALL look()")
            found = [rows(cursor.fetchall())]
            while cursor.nextset():
                found.append(rows(cursor.fetchall()))
            cursor.execute(PUT)
        connection.rollback()
    return [found, names(side)]
