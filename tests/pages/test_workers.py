"""Metrics of several workers: right whatever happens to them."""

from __future__ import annotations

import signal

import servers
from faults.load import load
from faults.project import SLUG

from .conftest import CAPACITY, CHECKOUTS, WORKERS, Start, Watched


def test_the_counts_are_the_servers(service: Watched) -> None:
    """After load, when all is quiet, both count the same connections."""
    load(lambda _: service.get(), 200)

    servers.wait_until(service.is_at_rest)
    servers.wait_until(lambda: service.metric(CHECKOUTS) >= 200)


def test_a_reload_starts_from_the_connections_of_its_own_workers(service: Watched) -> None:
    """New workers, the same sums; what was counted stays counted."""
    load(lambda _: service.get(), 200)
    before, old = service.metric(CHECKOUTS), service.worker_ids()
    assert service.process is not None

    service.process.send_signal(signal.SIGHUP)

    servers.wait_until(lambda: not old & service.worker_ids())
    servers.wait_until(service.is_at_rest)
    assert service.metric(CHECKOUTS) >= before


def test_an_application_loaded_before_the_fork_counts_its_workers_alone(start: Start) -> None:
    """Each worker tells its capacity as it starts, with an empty pool too; the master has none."""
    with start("--preload", at_rest=False, FLASK_APP=SLUG, POOL_PREFILL="off") as service:
        servers.wait_until(lambda: service.metric("db_client_connection_max") == WORKERS * CAPACITY)
        assert service.connections() <= 1  # one worker asks the server for its limits
        assert {worker["pid"] for worker in service.pool()["workers"]} == service.worker_ids()
