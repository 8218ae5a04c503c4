"""Connections that change a schema: in turn, without statement limits, with bounded waits."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import click
from alembic.util import CommandError
from sqlalchemy import event, text
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError

from .uses import use_of

LOCK = 7_305_808_110_469  # the number of the advisory lock
LOCK_TIMEOUT = 10  # seconds that a statement waits for a table
TURN_TIMEOUT = 600  # seconds that a deployment waits for another one
TURN_POLL = 0.5

# what returns a true value once the turn is taken
TAKE_TURN = {
    "postgresql": f"SELECT pg_try_advisory_xact_lock({LOCK})",
    "mysql": f"SELECT GET_LOCK(CONCAT('migrations-{LOCK}-', MD5(DATABASE())), 0)",
}
FILE = "SELECT file FROM pragma_database_list WHERE name = 'main'"
# idle limits, because the connection that keeps the turn is idle while the other one migrates
LIFT_LIMITS = {
    "postgresql": """
        SELECT set_config(name, CASE name WHEN 'lock_timeout' THEN '{wait}s' ELSE '0' END, {local})
        FROM pg_settings WHERE name IN ('lock_timeout', 'statement_timeout', 'transaction_timeout',
                                        'idle_in_transaction_session_timeout')""",
    # each server reads its own comment
    "mysql": """
        SET SESSION lock_wait_timeout = {wait}, wait_timeout = 86400
        /*M!100101 , max_statement_time = 0 *//*!50708 , max_execution_time = 0 */""",
}
for _queries in (TAKE_TURN, LIFT_LIMITS):
    _queries["mariadb"] = _queries["mysql"]


@contextmanager
def connect(engine: Engine) -> Iterator[Connection]:
    """Connect once no other deployment migrates this database, and keep others from it."""
    with _turn(engine), open_connection(engine) as connection, ExitStack() as stack:
        use = use_of(connection)
        if use is not None:
            use.warned = True  # a migration may hold its connection for long
        prepare = PREPARE.get(engine.dialect.name)
        if prepare is not None:
            stack.callback(prepare(connection))
        yield connection


def open_connection(engine: Engine) -> Connection:
    """Connect; raise what Flask-Migrate prints in one line if that fails."""
    try:
        return engine.connect()
    except DBAPIError as error:
        reason = " ".join(str(error.orig).split())
    except (TypeError, AttributeError) as error:  # the driver's, of what the URL asks for
        reason = str(error)
    raise CommandError(f"the database can't be reached: {reason}")


@contextmanager
def _turn(engine: Engine) -> Iterator[None]:
    name = engine.dialect.name
    with ExitStack() as stack:
        if name == "sqlite":  # whose own locks end with each transaction
            with open_connection(engine) as connection:
                file = connection.scalar(text(FILE)) or ""
            _wait_for(partial(_lock_folder, file, stack))
        elif name in TAKE_TURN:
            # Not the migration's own connection: autocommit_block() ends its transaction, and
            # behind a pooler a lock is kept in a transaction only. Nor one of the pool's places.
            connection = stack.enter_context(open_connection(engine))
            connection.execution_options(isolation_level="READ COMMITTED")
            connection.detach()
            _wait_for(partial(_take_turn, connection))
        yield


def _wait_for(take: Callable[[], bool]) -> None:
    if take():
        return
    click.echo("Another deployment is migrating this database: waiting for it.", err=True)
    end = monotonic() + TURN_TIMEOUT
    while not take():
        if monotonic() > end:
            raise CommandError("another deployment is still migrating this database")
        sleep(TURN_POLL)


def _take_turn(connection: Connection) -> bool:
    # Asked again and again: a statement that waits holds a snapshot, and CREATE INDEX CONCURRENTLY
    # waits for every snapshot. At READ COMMITTED an idle transaction holds none.
    _lift_limits(connection, local=True)
    taken = bool(connection.scalar(text(TAKE_TURN[connection.dialect.name])))
    if not taken:  # a pooler's server connection is not kept meanwhile
        connection.rollback()
    return taken


def _lock_folder(file: str, stack: ExitStack) -> bool:
    if not file or sys.platform == "win32":  # in memory, or without flock
        return True
    import fcntl

    folder = os.open(Path(file).parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(folder)
        return False
    stack.callback(os.close, folder)
    return True


def _lift_limits(connection: Connection, *, local: bool = False) -> None:
    limits = LIFT_LIMITS[connection.dialect.name]
    connection.exec_driver_sql(limits.format(wait=LOCK_TIMEOUT, local=str(local).lower()))


def _prepare_postgresql(connection: Connection) -> Callable[[], None]:
    info: Any = getattr(connection.connection.driver_connection, "info", None)
    if connection.scalar(text("SELECT pg_backend_pid()")) == getattr(info, "backend_pid", None):
        _lift_limits(connection)
        event.listen(connection, "before_cursor_execute", partial(_concurrently, "0"))
        event.listen(connection, "after_cursor_execute", partial(_concurrently, f"{LOCK_TIMEOUT}s"))
    else:  # behind a pooler, where the next transaction may be another session's
        event.listen(connection, "begin", partial(_lift_limits, local=True))
    connection.commit()
    return connection.invalidate


def _concurrently(timeout: str, _: Connection, cursor: Any, statement: str, *__: Any) -> None:
    # it waits for every older transaction, and keeps nobody from the table meanwhile
    if "CONCURRENTLY" in statement.upper():
        cursor.connection.cursor().execute(f"SET lock_timeout = '{timeout}'")


def _prepare_mysql(connection: Connection) -> Callable[[], None]:
    _lift_limits(connection)
    connection.commit()
    return connection.invalidate


def _prepare_sqlite(connection: Connection) -> Callable[[], None]:
    cursor: Any = connection.connection.cursor()  # in a transaction it could not be set
    before = {
        name: cursor.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("foreign_keys", "busy_timeout")
    }
    # a table is changed by copying and dropping it, with all that refers to it
    cursor.execute("PRAGMA foreign_keys = OFF")
    cursor.execute(f"PRAGMA busy_timeout = {LOCK_TIMEOUT * 1000}")
    event.listen(connection, "begin", _begin_immediate)

    def restore() -> None:
        connection.rollback()
        for name, value in before.items():
            cursor.execute(f"PRAGMA {name} = {value}")

    return restore


def _begin_immediate(connection: Connection) -> None:
    # the driver begins with the first INSERT, and never before DDL
    driver: Any = connection.connection.driver_connection
    autocommit = connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT"
    if not autocommit and not driver.in_transaction:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


PREPARE = {
    "postgresql": _prepare_postgresql,
    "mysql": _prepare_mysql,
    "mariadb": _prepare_mysql,
    "sqlite": _prepare_sqlite,
}
