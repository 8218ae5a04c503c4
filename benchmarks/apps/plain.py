"""Applications as Flask-SQLAlchemy's quick start makes them, which differ in their engine alone."""

from __future__ import annotations

import os
from typing import Any

from flask import Flask
from flask_pool import Pool
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import BigInteger, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.pool import NullPool

from benchmarks.apps.views import add_sample, add_views


def create_app(*, pooled: bool = False, **engine_options: Any) -> Flask:
    """Build an application with a database of its own, with Flask-Pool or without."""

    class Base(DeclarativeBase):
        """The base of all models."""

    db = SQLAlchemy(model_class=Base)

    class User(db.Model):  # type: ignore[name-defined, misc]
        """A person in the directory."""

        __tablename__ = "users"

        id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
        name: Mapped[str] = mapped_column(String(50))

    app = Flask(__name__)
    app.config["SECRET_KEY"] = os.environ["SECRET_KEY"]
    app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["SQLALCHEMY_DATABASE_URI"]
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = engine_options
    if pooled:
        Pool(app, db)
    else:
        db.init_app(app)
    add_views(app, db, User)
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
