"""The two applications that are compared: plain Flask-SQLAlchemy, and the same with the pool."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import tables
from flask import Flask
from flask_pool import Pool
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import event
from sqlalchemy.engine import URL
from sqlalchemy.orm import DeclarativeBase

PLAIN, POOL = "plain", "pool"
SIZE, OVERFLOW, PATIENCE, STATEMENT_TIMEOUT = 2, 8, 1, 5
# what SQLite waits for another writer, on both sides
BUSY = 0.1
SECRET = "only-for-the-comparison"


class Base(DeclarativeBase):
    """The base of the models."""


def extension() -> tuple[SQLAlchemy, SimpleNamespace]:
    """Give the extension as its documentation makes it, and its models."""
    db = SQLAlchemy(model_class=Base)
    return db, tables.define(db)


def application(side: str, db: SQLAlchemy, url: URL, other: URL, level: str | None) -> Flask:
    """Build one side's application, both with pools of the same size and the same limits."""
    app = Flask(side)
    options: dict[str, Any] = {"isolation_level": level} if level else {}
    if url.get_backend_name() == "sqlite":
        options["connect_args"] = {"timeout": BUSY}
    app.config |= {"SECRET_KEY": SECRET, "PROPAGATE_EXCEPTIONS": False}
    if side == POOL:
        app.config |= {
            "SQLALCHEMY_POOL_SIZE": SIZE,
            "SQLALCHEMY_MAX_OVERFLOW": OVERFLOW,
            "SQLALCHEMY_POOL_TIMEOUT": PATIENCE,
            "SQLALCHEMY_STATEMENT_TIMEOUT": STATEMENT_TIMEOUT,
        }
    else:
        options |= {"pool_size": SIZE, "max_overflow": OVERFLOW, "pool_timeout": PATIENCE}
        options["connect_args"] = options.get("connect_args", {}) | _limits(url)
    app.config["SQLALCHEMY_DATABASE_URI"] = url.render_as_string(hide_password=False)
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = options
    there = other.render_as_string(hide_password=False)
    app.config["SQLALCHEMY_BINDS"] = {"other": {"url": there} | options}
    if side == POOL:
        Pool(app, db)
        return app
    db.init_app(app)
    if url.get_backend_name() == "sqlite":
        with app.app_context():
            for engine in db.engines.values():
                event.listen(engine, "connect", _as_the_pool_documents)
    return app


def _limits(url: URL) -> dict[str, Any]:
    """Give the driver's arguments that bound a statement as the pool does."""
    if url.get_backend_name() == "postgresql":
        return {"options": f"-c statement_timeout={STATEMENT_TIMEOUT * 1000}"}
    if url.get_backend_name() == "mysql":
        return {"init_command": f"SET SESSION max_statement_time = {STATEMENT_TIMEOUT}"}
    return {}


def _as_the_pool_documents(connection: Any, _record: Any) -> None:
    """Check foreign keys and keep a write-ahead log: the two exceptions on SQLite."""
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA journal_mode = WAL")
