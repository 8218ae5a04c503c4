"""The database goes away and comes back, while the workers stay."""

from __future__ import annotations

import time

import servers

from .conftest import Database, Serve
from .load import load, statuses, steadily
from .service import Service

SOON = 1 + 3  # seconds: the promised one, and what a test machine may add


def workers(service: Service) -> list[int]:
    """Give the process ids of the workers, all of which have started."""
    servers.wait_until(lambda: len(service.workers()) == service.settings["WEB_CONCURRENCY"])
    return sorted(worker.pid for worker in service.workers())


def seconds_to_recover(service: Service) -> float:
    """Ask until every one of some requests in a row is served, and tell how long that took."""
    started = time.monotonic()
    servers.wait_until(lambda: {service.get().status for _ in range(8)} == {200})
    return time.monotonic() - started


def test_a_restart_costs_503_and_nothing_else(database: Database, serve: Serve) -> None:
    """While the server restarts requests are refused; then all are served by the same workers."""
    service = serve(database.url())
    before = workers(service)

    with steadily(lambda _: service.get()) as answers:
        servers.wait_until(lambda: len(answers) > 50)
        database.server.restart()
        assert seconds_to_recover(service) < servers.paced(SOON)

    assert set(statuses(answers)) <= {200, 503}
    assert all(answer.is_clean_refusal for answer in answers if answer.status != 200)
    assert workers(service) == before


def test_a_crash_costs_503_and_nothing_else(database: Database, serve: Serve) -> None:
    """The same for writes and a server that is killed: what was answered with 201 is there."""
    database.endure()
    service = serve(database.url())

    with steadily(lambda number: service.post(f"user {number}")) as answers:
        servers.wait_until(lambda: len(answers) > 50)
        database.server.restart(crash=True)
        assert seconds_to_recover(service) < servers.paced(SOON)

    created = [answer.data["name"] for answer in answers if answer.status == 201]
    found = database.names()
    assert all(answer.status == 201 or answer.is_honest for answer in answers)
    # one that was committed in the server's last moment may have had no answer
    assert set(created) <= set(found)
    assert len(found) == len(set(found))


def test_while_the_server_is_away_requests_are_refused_fast(
    database: Database, serve: Serve
) -> None:
    """503 with Retry-After, not after a timeout, and ready again within a second of its return."""
    service = serve(database.url())
    before = workers(service)

    database.server.stop()
    try:
        refused = load(lambda n: service.get() if n % 2 else service.post(f"lost {n}"), 100)
        ready = service.get("/healthz/ready")
        live = service.get("/healthz/live")
    finally:
        database.server.start()
    recovered = seconds_to_recover(service)

    assert all(answer.is_clean_refusal for answer in refused)
    assert max(answer.seconds for answer in refused) < servers.paced(SOON)
    assert (ready.status, ready.data["detail"]) == (503, "unreachable")
    assert live.status == 200
    assert recovered < servers.paced(SOON)
    assert workers(service) == before
    counted = "db_client_request_unavailable_total"
    servers.wait_until(lambda: service.metric(counted, reason="unavailable") == 100)
    assert database.names() == []
