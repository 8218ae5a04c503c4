"""Alembic's environment for Flask-Migrate: one deployment at a time, without statement limits."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from logging.config import fileConfig
from pathlib import Path
from typing import Any

import click
from alembic import context
from alembic.script import write_hooks
from alembic.util import CommandError
from flask import current_app
from sqlalchemy.engine import Connection, Engine

from . import schema_changes


def run(**options: Any) -> None:
    """Migrate each database of the application; `options` are those of `context.configure`."""
    if context.config.file_config.has_section("loggers"):  # as Flask-Migrate's env.py does
        fileConfig(str(context.config.config_file_name), disable_existing_loggers=False)
    migrate = current_app.extensions["migrate"]
    engines = {
        key: engine
        for key in sorted(migrate.db.engines, key=lambda key: key or "")  # the default one first
        if isinstance(engine := migrate.db.engines[key], Engine) and key in migrate.db.metadatas
        if key is None or _is_managed(_name(key))
    }
    names = {key: "database" if key is None else _name(key) for key in engines}
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


def _name(bind: str) -> str:
    """Return the name of a bind in the names of functions."""
    return re.sub(r"\W", "_", bind)


def _is_managed(name: str) -> bool:
    """Tell whether revisions have functions for this bind, or new ones will have.

    Flask-Migrate's folder for one database leaves binds alone.
    """
    template = Path(context.script.dir, "script.py.mako")
    return (template.is_file() and "bind" in template.read_text("utf-8")) or any(
        hasattr(revision.module, f"upgrade_{name}") for revision in context.script.walk_revisions()
    )


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
    opened = schema_changes.connect if _changes_schema() else schema_changes.open_connection
    with opened(engine) as connection:
        yield connection


def _changes_schema() -> bool:
    try:
        context.get_revision_argument()
    except KeyError:  # `current`, `check` and `migrate` only read
        return False
    except CommandError:  # a relative revision
        return True
    return True


def _choose_functions(name: str) -> None:
    """Have each revision run `upgrade_<name>`, or nothing for a bind that it has none for."""
    for revision in context.script.walk_revisions():
        for way in ("upgrade", "downgrade"):
            # the default one has a suffix in Flask-Migrate's template for several databases
            other = (lambda: None) if name else getattr(revision.module, way, None)
            setattr(revision.module, way, getattr(revision.module, f"{way}_{name}", other))


def _report(name: str, applied: list[str], *, step: Any, **_: Any) -> None:
    if step.is_stamp:
        way, revisions = "stamped", step.destination_revisions
    else:
        way = "upgraded to" if step.is_upgrade else "downgraded from"
        revisions = step.up_revisions
    for revision in revisions:
        click.echo(f"{name}: {way} {revision.revision}: {revision.doc}")
    if not revisions:
        click.echo(f"{name}: {way} base")
    applied.append(way)


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
    if not ruff:
        click.echo("ruff is not installed: the file is as Alembic wrote it")
    for command in ("format", "check --fix", "format") if ruff else ():
        subprocess.run([str(ruff), *command.split(), "--quiet", path], check=False)
