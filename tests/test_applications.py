"""An application of others answers the same with `Pool(app, db)` in place of `db.init_app(app)`."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import servers
from flask import Flask
from flask_pool import FairQueuePool, Pool
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Engine, MetaData, select

DATABASES = ("sqlite", "postgresql", "mariadb")

Attach = Callable[[Flask, SQLAlchemy], object]
Urls = Callable[[], str]


@pytest.fixture(params=DATABASES)
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> Urls:
    """Return a function that makes a database and returns its URL."""
    if request.param == "sqlite":
        numbers = iter(range(100))
        return lambda: f"sqlite:///{tmp_path}/{next(numbers)}.db"
    server: servers.PostgreSQL | servers.MariaDB = request.getfixturevalue(request.param)
    return lambda: server.url(server.create_database())


def load() -> ModuleType:
    """Import the application anew, so that nothing is shared with the other one."""
    sys.modules.pop("applications.shop", None)
    return importlib.import_module("applications.shop")


def plainly(app: Flask, db: SQLAlchemy) -> None:
    """Do without the extension."""
    db.init_app(app)


def run(new_url: Urls, attach: Attach) -> tuple[list[Any], dict[str, Any]]:
    """Visit the application; return all answers, and all rows that are left."""
    module = load()
    config = {
        "SQLALCHEMY_DATABASE_URI": new_url(),
        "SQLALCHEMY_BINDS": {"audit": new_url()},
        "SECRET_KEY": "for tests only",
    }
    before = {key: repr(value) for key, value in config.items()}
    app = module.create_app(config, attach)
    assert {key: repr(app.config[key]) for key in config} == before
    answers = []
    with app.test_client() as client:
        for response in module.visit(client):
            answers.append((response.status, response.mimetype, response.text))
            response.close()
    with app.app_context():
        engines = dict(module.db.engines)
        rows = {f"{key}": rows_of(engine) for key, engine in engines.items()}
        if attach is not plainly:
            assert all(isinstance(engine.pool, FairQueuePool) for engine in engines.values())
            assert [engine.pool.checkedout() for engine in engines.values()] == [0, 0]
    for engine in engines.values():
        engine.dispose()
    return answers, rows


def rows_of(engine: Engine) -> dict[str, list[Any]]:
    """Return all rows of all tables, but for passwords, which have salt."""
    metadata = MetaData()
    metadata.reflect(engine)
    with engine.connect() as connection:
        return {
            table.name: sorted(
                tuple(connection.execute(select(*columns)))
                if (columns := [each for each in table.c if each.name != "password"])
                else ()
            )
            for table in metadata.sorted_tables
        }


@pytest.fixture(autouse=True)
def no_threads_left() -> Iterator[None]:
    """Let the library's thread alone stay."""
    before = set(threading.enumerate())
    yield
    assert {thread.name for thread in set(threading.enumerate()) - before} <= {"flask-pool"}


def test_an_application_answers_the_same(new_url: Urls) -> None:
    """Each request has the same answer, and the same rows are left."""
    plain, left = run(new_url, plainly)
    pooled, rows = run(new_url, Pool)

    assert pooled == plain
    assert rows == left
    assert any(status.startswith("2") for status, *_ in plain)
