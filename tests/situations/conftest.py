"""One database per kind of server, emptied for each test, and applications on it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
import servers

from .applications import SIDES, Application
from .databases import DATABASE, SERIAL, Database, family_param


@pytest.fixture(params=SIDES)
def side(request: pytest.FixtureRequest) -> str:
    """Give each side in turn."""
    return str(request.param)


@pytest.fixture(params=[family_param(name) for name in SERIAL])
def family(request: pytest.FixtureRequest) -> str:
    """Give each kind of database in turn."""
    return str(request.param)


@pytest.fixture(scope="session")
def postgresql_database(postgresql: servers.PostgreSQL) -> Database:
    """Make the database on PostgreSQL."""
    return Database("postgresql", postgresql.url(postgresql.create_database(DATABASE)), postgresql)


@pytest.fixture(scope="session")
def mariadb_database(mariadb: servers.MariaDB) -> Database:
    """Make the database on MariaDB."""
    return Database("mariadb", mariadb.url(mariadb.create_database(DATABASE)), mariadb)


@pytest.fixture
def database(family: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Database]:
    """Give a database of this kind, with two items."""
    if family == "sqlite":
        found = Database(family, f"sqlite:///{tmp_path / 'file.db'}", None)
    elif family == "mariadb":
        found = request.getfixturevalue("mariadb_database")
    else:
        found = request.getfixturevalue("postgresql_database")
    found.prepare()
    yield found
    if found.server:
        found.server.kill_backends(DATABASE)


class Make(Protocol):
    """Makes an application on the test's database."""

    def __call__(self, **config: Any) -> Application:
        """Return it; `url`, `db` and Flask's config may be given."""


@pytest.fixture
def make(side: str, database: Database) -> Iterator[Make]:
    """Give a function that makes an application of this side."""
    made: list[Application] = []

    def make_one(**config: Any) -> Application:
        made.append(Application(side, config.pop("url", database.url), **config))
        return made[-1]

    yield make_one
    for one in made:
        one.dispose()


@pytest.fixture
def app(make: Make) -> Application:
    """Give an application with nothing else said."""
    return make()


class Undo(Protocol):
    """Takes what is to be called after the test."""

    def __call__(self, function: Callable[[], Any], /) -> None:
        """Keep it."""


@pytest.fixture
def undo() -> Iterator[Undo]:
    """Give a function that takes what is to be called after the test."""
    with contextlib.ExitStack() as stack:

        def keep(function: Callable[[], Any], /) -> None:
            stack.callback(function)

        yield keep
