"""How often a request goes to the database and back, counted on the wire."""

from __future__ import annotations

from collections.abc import Callable

import servers

from .conftest import Database, Serve
from .load import load, statuses
from .project import Setting
from .service import Answer, Service

OpenProxy = Callable[[int], servers.Proxy]

WARM: dict[str, Setting] = {
    "WEB_CONCURRENCY": 1,
    "SQLALCHEMY_POOL_SIZE": 1,
    # the machine may be slow
    "SQLALCHEMY_POOL_PING_AFTER": 60,
}
REQUESTS = 20


def round_trips(
    between: servers.Proxy, service: Service, ask: Callable[[Service], Answer]
) -> float:
    """Warm the connection up, then count the round trips of each of some requests."""
    for _ in range(REQUESTS):
        ask(service)
    before, opened = between.round_trips, between.connections
    answers = load(lambda _: ask(service), REQUESTS, threads=1)
    assert set(statuses(answers)) <= {200, 201}
    assert between.connections == opened, "a connection was opened"
    return (between.round_trips - before) / REQUESTS


def test_a_read_is_one_on_postgresql(
    on_postgresql: Database, serve: Serve, proxy: OpenProxy
) -> None:
    """Text, JSON and a single user, with no connection opened."""
    between = proxy(on_postgresql.server.port)
    service = serve(on_postgresql.url(between.port), **WARM)
    where = service.post("One").headers["Location"]

    assert round_trips(between, service, lambda s: s.get()) == 1
    assert round_trips(between, service, lambda s: s.get(where)) == 1
    assert round_trips(between, service, lambda s: s.get("/")) == 1


def test_a_write_is_three_on_postgresql(
    on_postgresql: Database, serve: Serve, proxy: OpenProxy
) -> None:
    """BEGIN, INSERT, COMMIT."""
    between = proxy(on_postgresql.server.port)
    service = serve(on_postgresql.url(between.port), **WARM)

    assert round_trips(between, service, lambda s: s.post("One")) == 3


def test_a_read_is_two_on_mariadb(on_mariadb: Database, serve: Serve, proxy: OpenProxy) -> None:
    """The session's ROLLBACK ends its transaction; a write is BEGIN, INSERT, COMMIT there too."""
    between = proxy(on_mariadb.server.port)
    service = serve(on_mariadb.url(between.port), **WARM)

    assert round_trips(between, service, lambda s: s.get()) == 2
    assert round_trips(between, service, lambda s: s.post("One")) == 3
