"""A small application of the pool's own, on the database of the test run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient, FlaskCliRunner
from flask_sqlalchemy import SQLAlchemy
from servers import MariaDB, PostgreSQL
from sqlalchemy import BigInteger, Integer, String
from sqlalchemy.engine import Engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from flask_pool import Pool

Make = Callable[..., Flask]

DATABASES = (
    "sqlite",
    pytest.param("postgresql", marks=pytest.mark.servers),
    pytest.param("mariadb", marks=[pytest.mark.servers, pytest.mark.repeat]),
)


@pytest.fixture(scope="session", params=DATABASES)
def database_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give a database of this process alone: a file, or one of a server."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path_factory.mktemp('database') / 'test.db'}"
    server: PostgreSQL | MariaDB = request.getfixturevalue(request.param)
    return server.url(server.create_database())


class Base(DeclarativeBase):
    """The base of these tests' tables."""


db = SQLAlchemy(model_class=Base)


class Item(db.Model):  # type: ignore[name-defined, misc]
    """A row that tests write and read."""

    __tablename__ = "pool_items"

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    name: Mapped[str] = mapped_column(String(50))


@pytest.fixture
def make_app(database_url: str) -> Iterator[Make]:
    """Make an application on the run's database; its connections are closed after the test."""
    made: list[Flask] = []

    def make(**config: Any) -> Flask:
        app = Flask("pool_tests")
        app.config.update(TESTING=True, SQLALCHEMY_DATABASE_URI=database_url, OPS_TOKEN="operator")
        app.config.update(SQLALCHEMY_POOL_SIZE=2, SQLALCHEMY_MAX_OVERFLOW=1)
        app.config.update(SQLALCHEMY_POOL_TIMEOUT=30)
        app.config.update(config)
        Pool().init_app(app, db)
        made.append(app)
        return app

    yield make
    for app in made:
        for engine in app.extensions["pool"].engines.values():
            engine.dispose()


@pytest.fixture
def app(make_app: Make) -> Iterator[Flask]:
    """An application with a pool of two connections and one more, and an empty table."""
    app = make_app()
    with app.app_context():
        db.create_all()
    yield app
    with app.app_context():
        db.session.remove()
        db.drop_all()


@pytest.fixture
def engine(app: Flask) -> Engine:
    """The application's engine."""
    engine: Engine = app.extensions["pool"].engines["default"]
    return engine


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A client of the application."""
    return app.test_client()


@pytest.fixture
def runner(app: Flask) -> FlaskCliRunner:
    """A command line of the application."""
    return app.test_cli_runner()
