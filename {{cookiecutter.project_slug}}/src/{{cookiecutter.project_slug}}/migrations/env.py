"""How `flask db` reaches the databases: one deployment at a time, without time limits."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from alembic import context
from alembic.script import write_hooks
from alembic.util import CommandError
from flask import current_app
from sqlalchemy import text
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError

LOCK = 7_305_808_110_469  # any number that is this project's alone
LOCK_TIMEOUT = 10  # seconds that a migration waits for a table before it gives up
TURN_TIMEOUT = 600  # seconds that it waits for another deployment

migrate = current_app.extensions["migrate"]
db = migrate.db
# each database has a table of versions; a bind without models is left alone
engines: dict[str | None, Engine] = {
    key: db.engines[key] for key in (None, *filter(None, db.engines)) if key in db.metadatas
}


@contextmanager
def connected(engine: Engine) -> Iterator[Connection]:
    """Connect as the service does; in one line if that fails."""
    try:
        connection = engine.connect()
    except DBAPIError as error:
        reason = " ".join(str(error.orig).split())
        raise CommandError(f"the database can't be reached: {reason}") from None
    except (TypeError, AttributeError) as error:  # the driver's, of what the URL asks for
        raise CommandError(f"the database can't be reached: {error}") from None
    with connection:
        if engine.name != "sqlite":  # so that it sees what the deployment before it did
            connection.execution_options(isolation_level="READ COMMITTED")
        if not in_memory(engine):
            connection.detach()  # what is set here stays here
        yield connection


def in_memory(engine: Engine) -> bool:
    """Tell whether this is SQLite without a file, which lives in its one connection."""
    url = engine.url
    nowhere = url.database in (None, "", ":memory:") or url.query.get("mode") == "memory"
    return engine.name == "sqlite" and nowhere


def take_turn(connection: Connection) -> None:
    """Let one deployment migrate at a time, and don't queue up behind a busy table."""
    driver: Any = connection.connection.dbapi_connection
    if hasattr(driver, "deadline"):
        driver.deadline = None
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        # held until the transaction ends, so it works behind PgBouncer too
        connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
        connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}s'"))
    elif connection.dialect.name in ("mysql", "mariadb"):
        # each server reads its own comment
        limits = "/*M!100101 , max_statement_time = 0 *//*!50708 , max_execution_time = 0 */"
        connection.exec_driver_sql(f"SET SESSION lock_wait_timeout = {LOCK_TIMEOUT} {limits}")
        if connection.scalar(text(f"SELECT GET_LOCK('migrations-{LOCK}', {TURN_TIMEOUT})")) != 1:
            raise CommandError("another deployment is still migrating this server")
    elif not in_memory(connection.engine):
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {TURN_TIMEOUT * 1000}")
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def run_online() -> None:
    """Migrate each database."""
    for key, engine in engines.items():
        with connected(engine) as connection:
            if engine.name == "sqlite":
                # it changes a table by copying and dropping it, with all that refers to it
                connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
            applied: list[str] = []
            configure(key, connection=connection, on_version_apply=report(key, applied))
            with context.begin_transaction():
                take_turn(connection)
                context.run_migrations()
            connection.commit()
            if in_memory(engine):
                connection.exec_driver_sql("PRAGMA foreign_keys = ON")
        if not applied and "destination_rev" in context.get_context().opts:
            click.echo(f"{name_of(key)}: nothing to do")


def run_offline() -> None:
    """Print the SQL instead of running it."""
    for key, engine in engines.items():
        configure(key, url=engine.url, literal_binds=True)
        with context.begin_transaction():
            context.run_migrations()


def configure(key: str | None, **options: Any) -> None:
    """Prepare Alembic for one database: a bind's changes are in `upgrade_<bind>`."""
    if key is not None:
        for revision in context.script.walk_revisions():
            for way in ("upgrade", "downgrade"):
                own = getattr(revision.module, f"{way}_{name_of(key)}", lambda: None)
                setattr(revision.module, way, own)
    prefix = "" if key is None else f"{name_of(key)}_"
    dialect = engines[key].name
    context.configure(
        **migrate.configure_args,
        **options,
        target_metadata=db.metadatas[key],
        transactional_ddl=dialect in ("sqlite", "postgresql"),
        upgrade_token=f"{prefix}upgrades",
        downgrade_token=f"{prefix}downgrades",
        process_revision_directives=drop_empty,
        template_args={"binds": [name_of(each) for each in engines if each is not None]},
    )


def name_of(key: str | None) -> str:
    """Return a bind's key as a part of a function's name."""
    return "database" if key is None else re.sub(r"\W", "_", key)


def report(key: str | None, applied: list[str]) -> Any:
    """Return what Alembic calls for each revision: it says what was done."""

    def say(step: Any, **rest: Any) -> None:
        way = "upgraded to" if step.is_upgrade else "downgraded from"
        for revision in step.up_revisions:
            done = "stamped" if step.is_stamp else way
            click.echo(f"{name_of(key)}: {done} {revision.revision}: {revision.doc}")
            applied.append(revision.revision)

    return say


def drop_empty(script_context: Any, revision: Any, directives: list[Any]) -> None:
    """Write no file if `flask db migrate` finds no change in any database."""
    if not getattr(context.config.cmd_opts, "autogenerate", False):
        return
    found = directives[0].upgrade_ops_list
    if len(found) == len(engines) and all(operations.is_empty() for operations in found):
        directives.clear()
        click.echo("The models are as the migrations left them: no file is written.")


@write_hooks.register("ruff")
def tidy(path: str, options: dict[str, str]) -> None:
    """Bring a new file into the project's style, where its tools are installed."""
    ruff = shutil.which("ruff")
    if ruff is None:
        return
    for command in (["format"], ["check", "--fix"], ["format"]):
        subprocess.run([ruff, *command, "--quiet", path], check=False)  # noqa: S603


if context.is_offline_mode():
    run_offline()
else:
    run_online()
