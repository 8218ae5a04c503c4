"""Alembic's environment for Flask-Migrate: one deployment at a time, without statement limits."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import click
from alembic import context
from alembic.script import write_hooks
from alembic.util import CommandError
from flask import current_app
from sqlalchemy import event, text
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError

LOCK = 7_305_808_110_469  # the number of the advisory lock
LOCK_TIMEOUT = 10  # seconds that a statement waits for a table
TURN_TIMEOUT = 600  # seconds that a deployment waits for another one
TURN_POLL = 0.5

# what returns a true value once the turn is taken
TAKE_TURN = {
    "postgresql": f"SELECT pg_try_advisory_xact_lock({LOCK})",
    "mysql": f"SELECT GET_LOCK(CONCAT('migrations-{LOCK}-', MD5(DATABASE())), 0)",
}
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


def run(**options: Any) -> None:
    """Migrate each database of the application; `options` are those of `context.configure`."""
    migrate = current_app.extensions["migrate"]
    engines = {
        key: engine
        for key in sorted(migrate.db.engines, key=lambda key: key or "")  # the default one first
        if isinstance(engine := migrate.db.engines[key], Engine) and key in migrate.db.metadatas
    }
    names = {key: "database" if key is None else re.sub(r"\W", "_", key) for key in engines}
    shared = {
        "process_revision_directives": partial(_drop_empty, len(engines)),
        "template_args": {"binds": [names[key] for key in engines if key is not None]},
    }
    for key, engine in engines.items():
        prefix = "" if key is None else f"{names[key]}_"
        own = shared | {
            "target_metadata": migrate.db.metadatas[key],
            "upgrade_token": f"{prefix}upgrades",
            "downgrade_token": f"{prefix}downgrades",
        }
        if engine.dialect.name == "sqlite":  # `connect` begins as the others do
            own["transactional_ddl"] = True
        _choose_functions("" if key is None else names[key])
        _run_one(names[key], engine, own | migrate.configure_args | options)


def _run_one(name: str, engine: Engine, options: dict[str, Any]) -> None:
    if context.is_offline_mode():
        context.configure(url=engine.url, **{"literal_binds": True} | options)
        with context.begin_transaction():
            context.run_migrations()
        return
    applied: list[str] = []
    given = options.get("on_version_apply", ())
    callbacks = (given,) if callable(given) else tuple(given)
    options["on_version_apply"] = (partial(_report, name, applied), *callbacks)
    with connect(engine) as connection:
        context.configure(connection=connection, **options)
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()
    if not applied and _changes_schema():
        click.echo(f"{name}: nothing to do")


@contextmanager
def connect(engine: Engine) -> Iterator[Connection]:
    """Connect for a migration: in turn, without statement limits, with bounded waits for tables."""
    changes = _changes_schema()
    with ExitStack() as stack:
        if changes:
            stack.enter_context(_turn(engine))
        connection = stack.enter_context(_open(engine))
        if changes:
            prepare = PREPARE.get(engine.dialect.name, _leave_as_it_is)
            stack.callback(prepare(connection))
        yield connection


def _changes_schema() -> bool:
    try:
        context.get_revision_argument()
    except KeyError:  # `current`, `check` and `migrate` only read
        return False
    except CommandError:  # a relative revision
        return True
    return True


def _open(engine: Engine) -> Connection:
    try:
        return engine.connect()
    except DBAPIError as error:
        reason = " ".join(str(error.orig).split())
    except (TypeError, AttributeError) as error:  # the driver's, of what the URL asks for
        reason = str(error)
    raise CommandError(f"the database can't be reached: {reason}")


@contextmanager
def _turn(engine: Engine) -> Iterator[None]:
    """Wait until no other deployment migrates this database, and keep others from it."""
    name = engine.dialect.name
    with ExitStack() as stack:
        connection = stack.enter_context(_open(engine))
        if name == "sqlite":  # whose own locks end with each transaction
            file = connection.exec_driver_sql("PRAGMA database_list").one()[2]
            connection.close()
            _wait_for(partial(_lock_folder, file, stack))
        elif name in TAKE_TURN:
            # Not the migration's own connection: autocommit_block() ends its transaction, and
            # behind a pooler a lock is kept in a transaction only. Nor one of the pool's places.
            connection.execution_options(isolation_level="READ COMMITTED")
            connection.detach()
            _wait_for(partial(_take_turn, connection))
        else:
            connection.close()
        yield


def _wait_for(take: Callable[[], bool]) -> None:
    end = monotonic() + TURN_TIMEOUT
    while not take():
        if monotonic() > end:
            raise CommandError("another deployment is still migrating this database")
        sleep(TURN_POLL)


def _take_turn(connection: Connection) -> bool:
    # Asked again and again: a statement that waits holds a snapshot, and CREATE INDEX CONCURRENTLY
    # waits for every snapshot. At READ COMMITTED an idle transaction holds none.
    connection.rollback()
    _lift_limits(connection, local=True)
    return bool(connection.scalar(text(TAKE_TURN[connection.dialect.name])))


def _lock_folder(file: str, stack: ExitStack) -> bool:
    if not file or sys.platform == "win32":  # in memory, or without flock
        return True
    import fcntl  # noqa: PLC0415

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


def _leave_as_it_is(_: Connection) -> Callable[[], None]:
    return lambda: None


PREPARE = {
    "postgresql": _prepare_postgresql,
    "mysql": _prepare_mysql,
    "mariadb": _prepare_mysql,
    "sqlite": _prepare_sqlite,
}


def _choose_functions(name: str) -> None:
    """Have each revision run `upgrade_<name>`, or nothing for a bind that it has none for."""
    for revision in context.script.walk_revisions():
        for way in ("upgrade", "downgrade"):
            # the default one has a suffix in Flask-Migrate's template for several databases
            other = (lambda: None) if name else getattr(revision.module, way, None)
            setattr(revision.module, way, getattr(revision.module, f"{way}_{name}", other))


def _report(name: str, applied: list[str], *, step: Any, **_: Any) -> None:
    way = "upgraded to" if step.is_upgrade else "downgraded from"
    for revision in step.up_revisions:
        done = "stamped" if step.is_stamp else way
        click.echo(f"{name}: {done} {revision.revision}: {revision.doc}")
        applied.append(revision.revision)


def _drop_empty(databases: int, _: Any, __: Any, directives: list[Any]) -> None:
    """Write no file if `flask db migrate` finds no change in any database."""
    if not getattr(context.config.cmd_opts, "autogenerate", False):
        return
    found = directives[0].upgrade_ops_list
    if len(found) == databases and all(operations.is_empty() for operations in found):
        directives.clear()
        click.echo("The models are as the migrations left them: no file is written.")


@write_hooks.register("ruff")
def _tidy(path: str, _: dict[str, str]) -> None:
    """Bring a new file into the project's style, where its tools are installed."""
    ruff = shutil.which("ruff")
    for command in ("format", "check --fix", "format") if ruff else ():
        subprocess.run([str(ruff), *command.split(), "--quiet", path], check=False)
