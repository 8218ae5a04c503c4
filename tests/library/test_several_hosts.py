"""PostgreSQL with all hosts in the URL: connections lead to the one that takes writes."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import servers
from servers.process import PASSWORD, USER
from servers.standby import configure

from .test_replicas import TABLE, Client, Service, serving

pytestmark = pytest.mark.needs("postgresql")


@pytest.fixture
def cluster() -> Iterator[servers.Cluster]:
    """Give a primary and two standbys, one of which has whatever was acknowledged."""
    with servers.cluster(2, "ANY 1 (s1, s2)") as cluster:
        cluster.primary.rows(TABLE)
        yield cluster


def write(service: Service, end: float, kept: list[str]) -> set[int]:
    """Add users until then, keep the ids of those acknowledged, and return the statuses."""
    client, found = Client(service), set()
    while time.monotonic() < end:
        answer = client.ask("POST", "/users")
        found.add(answer.status_code)
        if answer.status_code == 201:
            kept.append(answer.text)
        time.sleep(0.01)
    return found


def missing(server: servers.PostgreSQL, kept: list[str]) -> set[int]:
    """Return the acknowledged ids that are not there."""
    return {int(each) for each in kept} - {row["id"] for row in server.rows("SELECT id FROM users")}


def test_a_standby_that_is_promoted_is_found(cluster: servers.Cluster) -> None:
    """When the primary was killed, and the next one froze, whose connections never break."""
    first, (second, third) = cluster.primary, cluster.standbys
    limits: dict[str, Any] = {"SQLALCHEMY_STATEMENT_TIMEOUT": 2, "SQLALCHEMY_CONNECT_TIMEOUT": 2}
    with serving(cluster.url(), **limits) as service, ThreadPoolExecutor(4) as executor:

        def fail_over(promoted: servers.Standby, *steps: Any, seconds: float) -> None:
            kept: list[str] = []
            end = time.monotonic() + servers.paced(seconds)
            writing = [executor.submit(write, service, end, kept) for _ in range(4)]
            time.sleep(1)
            for step in steps:
                step()
            before = len(kept)
            statuses = set().union(*[each.result(120) for each in writing])
            assert statuses == {201, 503}
            assert len(kept) > before > 0  # it went on
            assert missing(promoted, kept) == set()
            assert Client(service).ask("POST", "/users").status_code == 201

        kill = lambda: first.stop(crash=True)  # noqa: E731
        fail_over(second, kill, lambda: third.follow(second), second.promote, seconds=5)
        configure(second, "synchronous_standby_names", "ANY 1 (s2)")
        try:
            # what a frozen server was asked before is held up for as long as the limits say
            fail_over(third, second.pause, third.promote, seconds=12)
        finally:
            second.stop(crash=True)


def test_a_silent_host_costs_its_timeout_once(postgresql: servers.PostgreSQL) -> None:
    """Each connection begins with the host that was the primary before, wherever it stands."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hosts = f"host=127.0.0.1:{silent.getsockname()[1]}&host=127.0.0.1:{postgresql.port}"
        url = f"postgresql+psycopg://{USER}:{PASSWORD}@/postgres?{hosts}"
        with serving(url) as service:
            assert service.pools.engines["default"].pool.checkedin() == 8  # type: ignore[attr-defined]
        silent.setblocking(False)
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()


def test_a_transaction_that_began_before_the_promotion_is_refused() -> None:
    """It can't write although its server can by now: 503, and the next one writes."""
    with servers.cluster() as cluster:
        (standby,) = cluster.standbys
        cluster.primary.rows(TABLE)
        standby.catch_up()
        with serving(standby.url(), SQLALCHEMY_POOL_SIZE=1) as service:
            with ThreadPoolExecutor(1) as thread:
                late = thread.submit(Client(service).ask, "POST", "/look_and_write")
                servers.wait_until(
                    lambda: any(
                        row["state"] == "idle in transaction" for row in standby.connections()
                    )
                )
                standby.promote()
                refused = late.result()
            assert refused.status_code == 503
            assert Client(service).ask("POST", "/users").status_code == 201
