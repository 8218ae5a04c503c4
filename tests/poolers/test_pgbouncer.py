"""1,000 connections on 20 of the server's, through the pgbouncer.ini that the project prints."""

from __future__ import annotations

import signal
import time

import pytest
import servers

from .conftest import CLIENTS, Stack

pytestmark = [pytest.mark.needs("postgresql", "pgbouncer"), pytest.mark.project]


def test_1000_clients_share_20_connections(stack: Stack) -> None:
    """No request fails, and the server never sees more."""
    seen: list[int] = []
    with stack.load() as load:
        for _ in range(20):
            seen.append(len(stack.primary.connections(stack.database)))
            time.sleep(0.1)
        clients = stack.clients

    counts = load.check(stack.primary, stack.database)
    print(f"\n{clients} clients, {max(seen)} server connections, {dict(counts)}")
    assert clients > CLIENTS * 0.9  # some of which may be on their way back from another test
    assert 1 < max(seen) <= 20
    assert set(counts) == {200, 201}


@pytest.mark.parametrize("crash", [True, False], ids=["killed", "stopped"])
def test_its_restart_under_load_loses_nothing(stack: Stack, crash: bool) -> None:
    """Requests are refused while it is away, and all clients come back."""
    with stack.load() as load:
        began = time.monotonic()
        if not crash:  # as the manifests stop it: when the transactions in flight have ended
            assert stack.pooler.process is not None
            stack.pooler.process.send_signal(signal.SIGINT)
            stack.pooler.process.wait(60)
        stack.pooler.stop(crash=crash)
        stopped = time.monotonic() - began
        stack.pooler.start()

    counts = load.check(stack.primary, stack.database)
    recovered = load.spoiled_until(began)
    print(f"\nstopped after {stopped:.2f} s, recovered after {recovered:.2f} s, {dict(counts)}")
    servers.wait_until(lambda: stack.service.get("/healthz/ready").status == 200)


def test_a_new_primary_is_found(stack: Stack) -> None:
    """The primary is killed and its synchronous standby promoted a second later."""
    standby = stack.cluster.standbys[0]
    with stack.load() as load:
        began = time.monotonic()
        stack.primary.stop(crash=True)
        time.sleep(1)
        standby.promote()
        stack.primary, promoted = standby, time.monotonic() - began

    counts = load.check(standby, stack.database)
    recovered = load.spoiled_until(began)
    pause = load.longest_pause()
    print(f"\npromoted after {promoted:.2f} s, recovered after {recovered:.2f} s, {dict(counts)}")
    print(f"longest pause {pause:.2f} s")
    # if all requests stood in PgBouncer as the primary was killed, they have only waited
    assert counts[503] > 0 or pause > 0.5
