"""What these tests share: the installed project on PostgreSQL with two workers, a browser."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import servers
from faults.project import OPS_TOKEN, Project, Setting
from faults.service import Service
from fixtures_servers import require
from servers.process import running

from .browser import Browser, Tab, chromium

INSIDE = Path(__file__).with_name("inside")
TOKEN = f"Bearer {OPS_TOKEN}"
WORKERS, SIZE, OVERFLOW, THREADS = 2, 2, 8, 10
CAPACITY = SIZE + OVERFLOW
CHECKOUTS = "db_client_connection_wait_time_seconds_count"

SETTINGS: dict[str, Setting] = {
    "WEB_CONCURRENCY": WORKERS,
    "WEB_THREADS": THREADS,
    "SQLALCHEMY_POOL_SIZE": SIZE,
    "SQLALCHEMY_MAX_OVERFLOW": OVERFLOW,
    "SQLALCHEMY_STATEMENT_TIMEOUT": 60,
    "SERVER_TIMING": "on",
}

Start = Callable[..., AbstractContextManager["Watched"]]


class Watched(Service):
    """A service whose database is asked too."""

    server: servers.PostgreSQL
    database: str

    def connections(self) -> int:
        """Give how many connections the server counts."""
        return len(self.server.connections(self.database))

    def pool(self) -> dict[str, Any]:
        """Give what /pool.json says of the pool."""
        answer = self.request("GET", "/pool.json", Authorization=TOKEN)
        assert answer.status == 200, answer
        pool: dict[str, Any] = answer.data["pools"][0]
        return pool

    def worker_ids(self) -> set[int]:
        """Give the process ids of the workers."""
        return {worker.pid for worker in self.workers()}

    def is_at_rest(self) -> bool:
        """Tell whether all workers are warm and the page, the metrics and the server agree."""
        pool = self.pool()
        return (
            {worker["pid"] for worker in pool["workers"]} == self.worker_ids()
            and len(pool["workers"]) == WORKERS
            and pool["checkedout"] == 0
            and pool["checkedin"] >= WORKERS * SIZE
            and pool["capacity"] == WORKERS * CAPACITY
            and pool["checkedin"] == self.connections()
            and self.metric("db_client_connection_count") == self.connections()
            and self.metric("db_client_connection_max") == WORKERS * CAPACITY
        )


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark every test that installs the baked project."""
    folder = Path(__file__).parent
    if Path(item.path).parent == folder and "project" in getattr(item, "fixturenames", ()):
        item.add_marker("project")


@pytest.fixture(scope="session")
def database(project: Project, postgresql: servers.PostgreSQL) -> str:
    """Give the name of a database with the project's schema."""
    name = postgresql.create_database()
    project.migrate(postgresql.url(name))
    return name


@pytest.fixture(scope="session")
def start(project: Project, postgresql: servers.PostgreSQL, database: str) -> Start:
    """Give a function that runs the service on its own database, for the length of a block."""
    numbers = itertools.count()

    @contextmanager
    def start(*options: str, at_rest: bool = True, **settings: Setting) -> Iterator[Watched]:
        arguments = (*options, "--pythonpath", str(INSIDE), "views:create_app()")
        own = f"{database}_{next(numbers)}"
        postgresql.rows(f"CREATE DATABASE {own} TEMPLATE {database}")
        service = Watched(project, postgresql.url(own), *arguments, **(SETTINGS | settings))
        service.server, service.database = postgresql, own
        with running(service):
            if at_rest:
                servers.wait_until(service.is_at_rest)
            yield service

    return start


@pytest.fixture(scope="package")
def shared(start: Start) -> Iterator[Watched]:
    """Give the service that these tests share."""
    with start() as service:
        yield service


@pytest.fixture
def service(shared: Watched) -> Watched:
    """Give the shared service, at rest."""
    servers.wait_until(shared.is_at_rest)
    return shared


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Give this run's browser."""
    require("chromium")
    with chromium() as browser:
        yield browser


@pytest.fixture
def tab(browser: Browser) -> Iterator[Tab]:
    """Give an empty page of the browser."""
    with browser.tab() as tab:
        yield tab


@pytest.fixture
def page(service: Watched, tab: Tab) -> Tab:
    """Give the page of the pool, with its first numbers."""
    show(service, tab)
    return tab


def show(service: Watched, tab: Tab) -> None:
    """Open the page of the pool and wait for its first numbers."""
    tab.open(f"http://127.0.0.1:{service.port}/pool", Authorization=TOKEN)
    servers.wait_until(lambda: tab.number("capacity") > 0)
