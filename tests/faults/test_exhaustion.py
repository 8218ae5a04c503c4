"""More is asked of the pool, or of the server, than there is."""

from __future__ import annotations

import servers

from .conftest import Database, Serve
from .load import load, statuses
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
