"""Applications as Flask-SQLAlchemy's quick start makes them, which differ in their engine alone."""

from __future__ import annotations

import os
from typing import Any

from flask import Flask, has_request_context, request
from flask_sqlalchemy import SQLAlchemy
from psycopg.pq import TransactionStatus
from sqlalchemy import BigInteger, Select, String, event
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.pool import NullPool

from benchmarks.apps.views import add_sample, add_view


class Base(DeclarativeBase):
    """The base of all models."""


db = SQLAlchemy(model_class=Base)


class User(db.Model):  # type: ignore[name-defined, misc]
    """A person in the directory."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    name: Mapped[str] = mapped_column(String(50))


def create_app(**engine_options: Any) -> Flask:
    """Build the application."""
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["SQLALCHEMY_DATABASE_URI"]
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = engine_options
    db.init_app(app)
    add_view(app, db, User)
    add_sample(app, db, User)
    return app


def pre_ping() -> Flask:
    """Ask each connection whether it lives before it is used."""
    return create_app(pool_pre_ping=True)


def defaults() -> Flask:
    """Leave everything as it is."""
    return create_app()


def unpooled() -> Flask:
    """Open a connection for each request."""
    return create_app(poolclass=NullPool)


def prototype() -> Flask:
    """Read without a transaction, and look after nothing else: the floor."""
    app = create_app()
    with app.app_context():
        event.listen(db.engine, "do_execute", _read_alone)
    return app


def _read_alone(cursor: Any, statement: str, parameters: Any, context: Any) -> bool | None:
    """Run a plain SELECT of a GET in autocommit if no transaction is open."""
    connection = cursor.connection
    if (
        not has_request_context()
        or request.method != "GET"
        or context.compiled is None
        or not isinstance(context.compiled.statement, Select)
        or connection.pgconn.transaction_status != TransactionStatus.IDLE
    ):
        return None
    connection.autocommit = True
    try:
        cursor.execute(statement, parameters)
    finally:
        connection.autocommit = False
    return True
