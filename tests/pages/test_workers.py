"""Metrics of several workers: right whatever happens to one of them."""

from __future__ import annotations

import os
import signal

import servers
from faults.load import load
from faults.project import SLUG

from .conftest import CAPACITY, WORKERS, Start, Watched

CHECKOUTS = "db_client_connection_wait_time_seconds_count"


def test_the_counts_are_the_servers(service: Watched) -> None:
    """After load, when all is quiet, both count the same connections."""
    load(lambda _: service.get(), 200)

    servers.wait_until(service.is_at_rest)
    servers.wait_until(lambda: service.metric(CHECKOUTS) >= 200)


def test_a_killed_worker_is_forgotten_and_its_work_is_not(service: Watched) -> None:
    """Its connections are no longer counted, its checkouts still are."""
    load(lambda _: service.get(), 200)
    before = service.metric(CHECKOUTS)
    killed = service.workers()[0].pid

    os.kill(killed, signal.SIGKILL)

    servers.wait_until(lambda: killed not in service.worker_ids())
    servers.wait_until(service.is_at_rest)
    assert service.metric(CHECKOUTS) >= before
    assert killed not in {worker["pid"] for worker in service.pool()["workers"]}


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
    """The master process, which opened nothing, is none of them."""
    with start("--preload", FLASK_APP=SLUG) as service:
        assert len(service.pool()["workers"]) == WORKERS


def test_the_capacity_is_known_before_the_pools_are_filled(start: Start) -> None:
    """Each worker tells its own as it starts."""
    with start(at_rest=False, POOL_PREFILL="off") as service:
        servers.wait_until(lambda: service.metric("db_client_connection_max") == WORKERS * CAPACITY)
        assert service.connections() <= 1  # one worker asks the server for its limits
