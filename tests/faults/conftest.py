"""What the fault tests share: the installed project, databases with its schema, services."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import servers
from servers.process import running

from .project import Project, Setting
from .service import Service

Serve = Callable[..., Service]


@dataclass(frozen=True)
class Database:
    """A database with the project's schema, on one of the servers."""

    server: servers.PostgreSQL | servers.MariaDB
    name: str

    def url(self, port: int | None = None) -> str:
        """Give its URL, through another port if there is a proxy."""
        return self.server.url(self.name, port)

    def rows(self, query: str) -> list[dict[str, Any]]:
        """Run one statement as an administrator and give its rows."""
        return self.server.rows(query, database=self.name)

    def names(self) -> list[str]:
        """Give the names of all users, in order."""
        return [row["name"] for row in self.rows("SELECT name FROM users ORDER BY 1")]

    def connections(self) -> list[dict[str, Any]]:
        """Give what the server knows of its clients."""
        return self.server.connections(self.name)

    def endure(self) -> None:
        """Have the server keep what it committed, even when it is killed."""
        if isinstance(self.server, servers.MariaDB):
            self.rows("SET GLOBAL innodb_flush_log_at_trx_commit = 2")
        else:
            self.rows(f"ALTER DATABASE {self.name} SET synchronous_commit = on")

    def kill(self) -> int:
        """End every client's connection."""
        return self.server.kill_backends(self.name)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark every test of this folder: it installs the baked project."""
    if Path(item.path).parent == Path(__file__).parent:
        item.add_marker("project")


@pytest.fixture(scope="session")
def _postgresql_database(project: Project, postgresql: servers.PostgreSQL) -> Database:
    database = Database(postgresql, postgresql.create_database())
    project.migrate(database.url())
    return database


@pytest.fixture(scope="session")
def _mariadb_database(project: Project, mariadb: servers.MariaDB) -> Database:
    database = Database(mariadb, mariadb.create_database())
    project.migrate(database.url())
    return database


@pytest.fixture
def on_postgresql(_postgresql_database: Database) -> Database:
    """Give a database without users on PostgreSQL."""
    _postgresql_database.rows("TRUNCATE users CASCADE")
    return _postgresql_database


@pytest.fixture
def on_mariadb(_mariadb_database: Database) -> Database:
    """Give a database without users on MariaDB."""
    _mariadb_database.rows("DELETE FROM users")
    return _mariadb_database


@pytest.fixture(
    params=[pytest.param(name, marks=pytest.mark.needs(name)) for name in ("postgresql", "mariadb")]
)
def database(request: pytest.FixtureRequest) -> Database:
    """Give a database without users, on one server after the other."""
    found: Database = request.getfixturevalue(f"on_{request.param}")
    return found


@pytest.fixture(
    params=[
        pytest.param("postgresql", marks=pytest.mark.needs("postgresql")),
        pytest.param("mariadb", marks=[pytest.mark.needs("mariadb"), pytest.mark.repeat]),
    ]
)
def any_database(request: pytest.FixtureRequest) -> Database:
    """Give a database to tests of what no driver has a part in."""
    found: Database = request.getfixturevalue(f"on_{request.param}")
    return found


@contextmanager
def starter(project: Project) -> Iterator[Serve]:
    """Give a function that starts the service on a database; at the end all are stopped."""
    with ExitStack() as stack:

        def start(url: str, *arguments: str, **settings: Setting) -> Service:
            return stack.enter_context(running(Service(project, url, *arguments, **settings)))

        yield start


@pytest.fixture
def serve(project: Project) -> Iterator[Serve]:
    """Give a function that starts the service on a database; all are stopped after the test."""
    with starter(project) as start:
        yield start


@pytest.fixture(scope="module")
def share(project: Project) -> Iterator[Serve]:
    """Give a function that starts a service once for all tests of a module that ask for it."""
    with starter(project) as start:
        yield functools.cache(start)
