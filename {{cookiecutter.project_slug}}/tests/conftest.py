"""An application on a database made for the test run, empty for each test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from flask.testing import FlaskClient, FlaskCliRunner
from flask_migrate import upgrade
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from {{cookiecutter.project_slug}} import (
    create_app,
)
from {{cookiecutter.project_slug}}.config import (
    database_url as with_driver,
)
from {{cookiecutter.project_slug}}.db import db


@pytest.fixture(scope="session")
def database_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A database of this run alone: a file, or one made on the server of TEST_DATABASE_URL."""
    given = os.environ.get("TEST_DATABASE_URL")
    if not given:
        yield f"sqlite:///{tmp_path_factory.mktemp('database') / 'test.db'}"
        return
    server = make_url(with_driver(given))
    name = f"test_{uuid4().hex}"
    engine = create_engine(server, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        yield server.set(database=name).render_as_string(hide_password=False)
    finally:
        with engine.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name}"))


@pytest.fixture(scope="session")
def config(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What every application of the tests is made with: no database but the run's own."""
    folder = tmp_path_factory.mktemp("binds")
    return {
        "TESTING": True,
        "SECRET_KEY": "only-for-these-tests",
        "SQLALCHEMY_DATABASE_URI": database_url,
        "SQLALCHEMY_BINDS": {key: f"sqlite:///{folder / key}.db" for key in db.metadatas if key},
        "SQLALCHEMY_POOL_SIZE": 2,
        "SQLALCHEMY_MAX_OVERFLOW": 1,
        "OPS_TOKEN": "operator",
    }


@pytest.fixture(scope="session")
def migrated(config: dict[str, Any]) -> str:
    """The database with its tables."""
    app = create_app(config)
    with app.app_context():
        upgrade()
        for engine in db.engines.values():
            engine.dispose()
    return str(config["SQLALCHEMY_DATABASE_URI"])


@pytest.fixture
def app(config: dict[str, Any], migrated: str) -> Iterator[Flask]:
    """The application, with a small pool and empty tables."""
    app = create_app(config)
    with app.app_context():
        for key, metadata in db.metadatas.items():
            with db.engines[key].begin() as connection:
                for table in reversed(metadata.sorted_tables):
                    connection.execute(table.delete())
    yield app
    with app.app_context():
        for engine in db.engines.values():
            engine.dispose()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A client of the application."""
    return app.test_client()


@pytest.fixture
def runner(app: Flask) -> FlaskCliRunner:
    """A command line of the application."""
    return app.test_cli_runner()
