"""PostgreSQL with all hosts in the URL: connections lead to the one that takes writes."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
import servers
from servers.process import PASSWORD, USER

from .test_replicas import TABLE, Client, serving

pytestmark = pytest.mark.needs("postgresql")


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
