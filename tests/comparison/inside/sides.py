"""The applications that are compared: plain, SQLAlchemy's recipe for SQLite, the service."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import tables
from flask import Flask, has_request_context, request
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection
from sqlalchemy.orm import DeclarativeBase

PLAIN, RECIPE, SERVICE = "plain", "recipe", "service"
SIZE, OVERFLOW, PATIENCE, STATEMENT_TIMEOUT = 2, 8, 1, 5
# what SQLite waits for another writer, which is the service's patience there
BUSY = 0.1
SECRET = "only-for-the-comparison"

Made = tuple[SQLAlchemy, SimpleNamespace]


class Base(DeclarativeBase):
    """The base of the plain application's models."""


def plain() -> Made:
    """Give the extension as its documentation makes it."""
    db = SQLAlchemy(model_class=Base)
    return db, tables.define(db)


def service() -> Made:
    """Give the extension of the baked project."""
    from fault_service.db import db  # noqa: PLC0415 - the plain sides must not even import it

    return db, tables.define(db)


def plain_app(
    db: SQLAlchemy, url: URL, other: URL, level: str | None, *, recipe: bool = False
) -> Flask:
    """Build a plain application whose pool has the same size, level and time limits."""
    app = Flask("plain")
    options = {
        "pool_size": SIZE,
        "max_overflow": OVERFLOW,
        "pool_timeout": PATIENCE,
        "connect_args": _limits(url),
    }
    if level or url.get_backend_name() == "mysql":
        options["isolation_level"] = level or "READ COMMITTED"
    app.config |= {
        "SECRET_KEY": SECRET,
        "SQLALCHEMY_DATABASE_URI": url,
        "SQLALCHEMY_ENGINE_OPTIONS": options,
        "SQLALCHEMY_BINDS": {"other": {"url": other} | options},
        "PROPAGATE_EXCEPTIONS": False,
    }
    db.init_app(app)
    if recipe:
        with app.app_context():
            for engine in db.engines.values():
                event.listen(engine, "connect", _leave_transactions_to_sqlalchemy)
                event.listen(engine, "begin", _begin)
    return app


def service_app(url: URL, other: URL, level: str | None) -> Flask:
    """Build the baked project's application."""
    from fault_service import create_app  # noqa: PLC0415 - as above

    settings: dict[str, Any] = {
        "SECRET_KEY": SECRET,
        "SQLALCHEMY_DATABASE_URI": url.render_as_string(hide_password=False),
        "SQLALCHEMY_BINDS": {"other": other.render_as_string(hide_password=False)},
        "SQLALCHEMY_POOL_SIZE": SIZE,
        "SQLALCHEMY_MAX_OVERFLOW": OVERFLOW,
        "SQLALCHEMY_POOL_TIMEOUT": BUSY if url.get_backend_name() == "sqlite" else PATIENCE,
        "SQLALCHEMY_STATEMENT_TIMEOUT": STATEMENT_TIMEOUT,
        "PROPAGATE_EXCEPTIONS": False,
    }
    if level:
        settings["SQLALCHEMY_ENGINE_OPTIONS"] = {"isolation_level": level}
    return create_app(settings)


def _limits(url: URL) -> dict[str, Any]:
    """Give the driver's arguments that bound a statement as the service does."""
    if url.get_backend_name() == "postgresql":
        return {"options": f"-c statement_timeout={STATEMENT_TIMEOUT * 1000}"}
    if url.get_backend_name() == "mysql":
        return {"init_command": f"SET SESSION max_statement_time = {STATEMENT_TIMEOUT}"}
    return {"timeout": BUSY}


def _leave_transactions_to_sqlalchemy(connection: Any, _record: Any) -> None:
    connection.isolation_level = None
    connection.execute("PRAGMA foreign_keys = ON")


def _begin(connection: Connection) -> None:
    """Begin as the service's contract says: IMMEDIATE in a request that may write."""
    unsafe = has_request_context() and request.method not in {"GET", "HEAD", "OPTIONS"}
    connection.exec_driver_sql("BEGIN IMMEDIATE" if unsafe else "BEGIN")
