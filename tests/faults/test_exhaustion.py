"""More is asked of the pool, or of the server, than there is."""

from __future__ import annotations

import time

import servers

from .conftest import Database, Serve
from .load import load, statuses, steadily
from .project import Setting
from .service import WITH_VIEWS

ONE_WORKER: dict[str, Setting] = {
    "WEB_CONCURRENCY": 1,
    "WEB_THREADS": 12,
    "SQLALCHEMY_POOL_SIZE": 1,
    "SQLALCHEMY_MAX_OVERFLOW": 1,
    "SQLALCHEMY_POOL_TIMEOUT": 0.5,
    "SQLALCHEMY_STATEMENT_TIMEOUT": 60,
}


def sleep(seconds: float) -> str:
    """Give the address that holds a connection for as long, on a machine with nothing to do."""
    return f"/probe/sleep?seconds={servers.paced(seconds):.1f}"


def test_a_full_pool_is_503_after_pool_timeout(on_postgresql: Database, serve: Serve) -> None:
    """Counted, never a 500, and over as soon as a connection is returned."""
    service = serve(on_postgresql.url(), *WITH_VIEWS, **ONE_WORKER)

    hold = sleep(2)
    with steadily(lambda _: service.get(hold), 2):
        servers.wait_until(lambda: service.metric("db_client_connection_count", state="used") == 2)
        refused = load(lambda _: service.get(), 8)
        ready = service.get("/healthz/ready")
        live = service.get("/healthz/live")

    assert [answer.status for answer in refused if not answer.is_clean_refusal] == []
    assert min(answer.seconds for answer in refused) >= 0.5
    assert max(answer.seconds for answer in refused) < servers.paced(4)
    assert (ready.status, ready.data["detail"]) == (503, "exhausted")
    assert live.status == 200
    assert service.metric("db_client_connection_timeouts_total") >= 8
    # the probe's own wait for a connection may count, too
    counted = service.metric("db_client_request_unavailable_total", reason="exhausted")
    assert counted in (8, 9)
    assert service.get().status == 200


def test_more_than_max_waiting_are_refused_at_once(on_postgresql: Database, serve: Serve) -> None:
    """Those who may wait are served, the others learn at once that they must come again."""
    settings = ONE_WORKER | {"SQLALCHEMY_POOL_TIMEOUT": 60, "SQLALCHEMY_MAX_WAITING": 3}
    service = serve(on_postgresql.url(), *WITH_VIEWS, **settings)

    hold = sleep(1.5)
    answers = load(lambda _: service.get(hold), 10, threads=10)

    assert statuses(answers) == {200: 5, 503: 5}
    refused = [answer for answer in answers if answer.status == 503]
    assert all(answer.is_clean_refusal for answer in refused)
    assert max(answer.seconds for answer in refused) < servers.paced(1.5)


def test_a_flood_is_one_log_line_a_second(on_postgresql: Database, serve: Serve) -> None:
    """How many were kept back is in the next line."""
    settings = ONE_WORKER | {"SQLALCHEMY_POOL_TIMEOUT": 20, "SQLALCHEMY_MAX_WAITING": 0}
    service = serve(on_postgresql.url(), *WITH_VIEWS, **settings)

    with steadily(lambda _: service.get("/probe/sleep?seconds=1"), 2):
        servers.wait_until(lambda: service.metric("db_client_connection_count", state="used") == 2)
        started = time.monotonic()
        refused = statuses(load(lambda _: service.get(), 400, threads=4)).get(503, 0)
        took = time.monotonic() - started

    lines = [line for line in service.log().splitlines() if "503 exhausted" in line]
    assert refused > 100
    assert 1 <= len(lines) <= took + 2
    assert "Traceback" not in service.log()


def test_too_many_clients_is_503(small_server: Database, serve: Serve) -> None:
    """The server has fewer connections than the pool may open: what it refuses is a 503."""
    service = serve(
        small_server.url(),
        *WITH_VIEWS,
        WEB_CONCURRENCY=1,
        WEB_THREADS=16,
        SQLALCHEMY_POOL_SIZE=16,
        SQLALCHEMY_STATEMENT_TIMEOUT=60,
        POOL_PREFILL="false",
    )

    hold = sleep(1)
    answers = load(lambda _: service.get(hold), 16, threads=16)

    assert set(statuses(answers)) == {200, 503}
    assert all(answer.status == 200 or answer.is_clean_refusal for answer in answers)
    assert "too many" in service.log().lower()
    assert statuses(load(lambda _: service.get(), 20, threads=2)) == {200: 20}


def test_idle_in_transaction_is_503_and_over(on_postgresql: Database, serve: Serve) -> None:
    """A view that dawdles in its transaction loses it; the next request gets a connection."""
    on_postgresql.rows(
        f"ALTER DATABASE {on_postgresql.name} SET idle_in_transaction_session_timeout = '500ms'"
    )
    try:
        service = serve(on_postgresql.url(), *WITH_VIEWS, **ONE_WORKER)
        dawdled = [service.request("POST", "/probe/dawdle?seconds=1") for _ in range(3)]
        after = load(lambda number: service.post(f"user {number}"), 10, threads=1)
    finally:
        on_postgresql.rows(f"ALTER DATABASE {on_postgresql.name} RESET ALL")

    assert all(answer.is_clean_refusal for answer in dawdled), dawdled
    assert statuses(after) == {201: 10}
    assert len(on_postgresql.names()) == 10


def test_wait_timeout_shorter_than_recycle_is_harmless(on_mariadb: Database, serve: Serve) -> None:
    """MariaDB closes idle connections by itself, long before pool_recycle; nobody notices."""
    on_mariadb.rows("SET GLOBAL wait_timeout = 2")
    try:
        service = serve(on_mariadb.url(), SQLALCHEMY_POOL_PING_AFTER=0.5)
        answers = []
        for _ in range(2):
            answers += load(lambda _: service.get(), 10)
            answers += load(lambda _: service.post("someone"), 10)
            servers.wait_until(lambda: not on_mariadb.connections())
        answers += load(lambda _: service.post("last"), 10)
    finally:
        on_mariadb.rows("SET GLOBAL wait_timeout = 28800")

    assert set(statuses(answers)) == {200, 201}
    assert service.metric("db_client_connection_replaced_total", reason="dead") > 0
