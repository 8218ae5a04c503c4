"""The database: the SQLAlchemy extension, its session and the declarative base."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy.session import Session
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.orm import DeclarativeBase, SessionTransactionOrigin
from werkzeug.utils import import_string

from .pool import transactions


class RequestSession(Session):
    """A session that reads without a transaction in safe requests (GET, HEAD, OPTIONS).

    An explicit `db.session.begin()` is always a transaction, and so is every session
    outside a request.
    """

    def get_bind(
        self,
        mapper: Any | None = None,
        clause: Any | None = None,
        bind: Engine | Connection | None = None,
        **kwargs: Any,
    ) -> Engine | Connection:
        """Return the engine to use; in a safe request the one that begins at the first write."""
        found = super().get_bind(mapper, clause, bind, **kwargs)
        begun = self.get_transaction()
        explicit = begun is not None and begun.origin is not SessionTransactionOrigin.AUTOBEGIN
        return transactions.twin(found, explicit)


class Base(DeclarativeBase):
    """The base of all models."""

    # whatever the server's default is, a name may hold any character
    __table_args__: Any = {"mysql_charset": "utf8mb4", "mariadb_charset": "utf8mb4"}  # noqa: RUF012


db = SQLAlchemy(model_class=Base, session_options={"class_": RequestSession})

if TYPE_CHECKING:  # db.Model is made at run time, out of sight of type checkers
    Model = Base
else:
    Model = db.Model


class Migrations:
    """Flask-Migrate, once it is asked for: a service that only serves does without Alembic."""

    def __init__(self, app: Flask) -> None:
        self._app = app

    def __getattr__(self, name: str) -> Any:
        from flask_migrate import Migrate

        Migrate(self._app, db, directory=f"{self._app.root_path}/migrations")
        return getattr(self._app.extensions["migrate"], name)


class MigrationCommands(click.Command):
    """`flask db`, likewise."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Let Flask-Migrate's own group of commands take over."""
        group: click.Group = import_string("flask_migrate.cli:db")
        return group.make_context(*args, **extra)


def init_app(app: Flask) -> None:
    """Give the application its engines, sessions and migrations."""
    from . import models  # noqa: F401  (fills the metadata that migrations compare)

    db.init_app(app)
    app.extensions["migrate"] = Migrations(app)
    app.cli.add_command(MigrationCommands("db", short_help="Perform database migrations."))
