"""A plain Flask application with its migrations in a folder, upgraded here or in a process."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bake import ROOT
from flask import Flask
from flask_migrate import Migrate
from flask_pool import Pool
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

ENV = "from flask_pool import migrations\n\nmigrations.run()\n"
TEMPLATE = next(ROOT.glob("*/src/*/migrations"))
REVISION = """
import sqlalchemy as sa
from alembic import op
from sqlalchemy import Column, Integer, String

revision = {revision!r}
down_revision = {down!r}


def upgrade():
{upgrade}


def downgrade():
{downgrade}
"""
DEPLOYMENT = """
import json, sys
sys.path[:0] = {path!r}
from library.migrating import make_app
from flask_migrate import upgrade

with make_app(**json.load(sys.stdin)).app_context():
    upgrade()
"""
LIMIT = 0.5  # seconds that a statement of the service may take


class Folder:
    """A folder of migrations."""

    def __init__(self, path: Path, env: str = ENV) -> None:
        self.path = path
        (path / "versions").mkdir(parents=True)
        (path / "env.py").write_text(env)
        (path / "alembic.ini").write_text("[alembic]\nrevision_environment = true\n")
        (path / "script.py.mako").write_text((TEMPLATE / "script.py.mako").read_text())

    def add(
        self, revision: str, *upgrade: str, downgrade: Sequence[str] = (), more: str = ""
    ) -> None:
        """Write a revision that follows the last one."""
        known = sorted(self.path.glob("versions/*.py"), key=lambda file: file.stat().st_mtime_ns)
        text = REVISION.format(
            revision=revision,
            down=known[-1].stem if known else None,
            upgrade=_indented(upgrade),
            downgrade=_indented(downgrade),
        )
        (self.path / "versions" / f"{revision}.py").write_text(text + textwrap.dedent(more))


def _indented(parts: Sequence[str]) -> str:
    text = "\n".join(textwrap.dedent(part).strip() for part in parts) or "pass"
    return textwrap.indent(text, "    ")


def make_app(
    url: str,
    folder: str,
    binds: Mapping[str, str] | None = None,
    migrate: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
) -> Flask:
    """Make an application of one connection, whose statements have a limit."""
    app, db = Flask("library_tests"), SQLAlchemy()
    app.config |= {
        "SQLALCHEMY_DATABASE_URI": url,
        "SQLALCHEMY_BINDS": dict(binds or {}),
        "SQLALCHEMY_POOL_SIZE": 1,
        "SQLALCHEMY_MAX_OVERFLOW": 0,
        "SQLALCHEMY_POOL_TIMEOUT": 2,
        "SQLALCHEMY_STATEMENT_TIMEOUT": LIMIT,
        **(config or {}),
    }
    if "SQLALCHEMY_ENGINE_OPTIONS" in app.config:  # without the library's pool
        db.init_app(app)
    else:
        Pool().init_app(app, db)
    with app.app_context():
        for bind in binds or ():
            db.Table("things", db.Column("id", db.Integer, primary_key=True), bind_key=bind)
    Migrate(app, db, directory=folder, **dict(migrate or {}))
    return app


@contextmanager
def application(url: str, folder: Folder, **given: Any) -> Iterator[Flask]:
    """Enter the context of an application, and close its connections at the end."""
    app = make_app(url, str(folder.path), **given)
    with app.app_context():
        yield app
        for engine in app.extensions["sqlalchemy"].engines.values():
            engine.dispose()


@contextmanager
def deployment(url: str, folder: Folder, **given: Any) -> Iterator[subprocess.Popen[str]]:
    """Run `upgrade` in a process of its own."""
    code = DEPLOYMENT.format(path=[str(ROOT / "tests"), str(ROOT / "src")])
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps({"url": url, "folder": str(folder.path)} | given))
        process.stdin.close()
        process.stdin = None  # for communicate
        try:
            yield process
        finally:
            process.kill()


def applied(process: subprocess.Popen[str]) -> list[str]:
    """Wait for a deployment, which must end well, and give what it applied."""
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 0, said
    return re.findall(r"database: upgraded to (\w+)", said)


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    """Run one statement on a connection of its own."""
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        result = connection.exec_driver_sql(query)
        return [tuple(row) for row in result] if result.returns_rows else []
