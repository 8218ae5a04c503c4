"""Views that read and write, whatever their method, behave as a Flask developer expects."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pymysql
import pytest
import servers

from .conftest import Database, Serve
from .load import load
from .service import WITH_VIEWS, Service


@pytest.fixture
def one_connection(database: Database, share: Serve) -> Service:
    """Give a service whose pool holds one connection and no more."""
    return share(
        database.url(),
        *WITH_VIEWS,
        WEB_CONCURRENCY=1,
        SQLALCHEMY_POOL_SIZE=1,
        SQLALCHEMY_POOL_TIMEOUT=10,
    )


# each view, what it answers with no users before it, and the users that it leaves
VIEWS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "read_write_read": (
        {"before": 0, "inside": 1, "name": "written in a view", "after": 1},
        ["written in a view"],
    ),
    "roll_back": ({"inside": 1, "after": 0}, []),
    "forget_to_commit": ({"inside": 1}, []),
    "core_text": ({"inside": 1, "undone": 0, "after": 1}, ["kept"]),
    "savepoint": ({"inside": 1, "after": 2}, ["outer", "second"]),
    "savepoint_first": ({"after": 1}, ["outer"]),
    "engine_directly": ({"after": 1}, ["kept"]),
}


def test_one_connection_is_enough_for_any_view(database: Database, one_connection: Service) -> None:
    """No view holds two: with one in all, nothing waits, and nothing stays in use."""
    for method in ("GET", "POST"):
        for view, (expected, left) in VIEWS.items():
            clear(database)
            answer = one_connection.request(method, f"/probe/{view}")
            assert (view, answer.status) == (view, 200), answer
            assert (method, view, answer.data) == (method, view, expected)
            assert (view, database.names()) == (view, left)

    assert one_connection.metric("db_client_connection_timeouts_total") == 0
    assert one_connection.metric("db_client_connection_leaks_total") == 0
    assert one_connection.metric("db_client_connection_count", state="used") == 0


def test_lazy_loads_and_get_work_on_one_connection(
    database: Database, one_connection: Service
) -> None:
    """What is expired is read again when it is touched."""
    user = one_connection.post("Alice").data

    assert one_connection.get(f"/probe/lazy?id={user['id']}").data == {"name": "Alice"}


def test_a_streamed_response_holds_its_connection_until_its_end(
    database: Database, one_connection: Service
) -> None:
    """Read to the end or abandoned, the connection is there for the next request."""
    names = [f"user {number:04}" for number in range(200)]
    load(lambda number: one_connection.post(names[number]), len(names), threads=1)

    for _ in range(3):
        assert sorted(one_connection.get("/probe/stream").text.split("\n")[:-1]) == names
        with socket.create_connection(("127.0.0.1", one_connection.port)) as client:
            client.sendall(b"GET /probe/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert client.recv(20).startswith(b"HTTP/1.1 200")
        assert one_connection.get("/users").status == 200
    assert one_connection.metric("db_client_connection_count", state="used") == 0


def test_two_connections_at_once_are_independent(database: Database, serve: Serve) -> None:
    """Inner contexts, threads and db.engine each have a transaction of their own."""
    service = serve(database.url(), *WITH_VIEWS, WEB_CONCURRENCY=1, SQLALCHEMY_POOL_SIZE=2)

    assert service.get("/probe/nested_context").data == {"after": 1}
    assert database.names() == ["inner"]
    clear(database)
    assert service.get("/probe/background").data == {"after": 1}
    assert database.names() == ["commit: True"]
    clear(database)
    assert service.get("/probe/repeatable_read").data == {"first": 0, "second": 0, "after": 1}
    # and the level was for that one transaction
    assert service.get("/probe/read_write_read").data["after"] == 2
    assert service.metric("db_client_connection_count", state="used") == 0


def test_for_update_in_a_safe_request_locks(database: Database, serve: Serve) -> None:
    """A GET view that asks for a lock in its transaction holds it to the end of it."""
    service = serve(database.url(), *WITH_VIEWS, WEB_CONCURRENCY=1)
    service.post("Alice")

    with ThreadPoolExecutor(1) as executor:
        lock = f"/probe/lock?seconds={servers.paced(1.5):.1f}"
        held = executor.submit(service.get, lock)
        servers.wait_until(lambda: service.metric("db_client_connection_count", state="used") == 1)
        servers.wait_until(lambda: held.done() or is_locked(database))
        assert not held.done()

    assert held.result().status == 200
    assert not is_locked(database)


def is_locked(database: Database) -> bool:
    """Tell whether somebody holds the lock of a user's row."""
    try:
        database.rows("SELECT * FROM users FOR UPDATE NOWAIT")
    except (psycopg.errors.LockNotAvailable, pymysql.err.OperationalError):
        return True
    return False


def clear(database: Database) -> None:
    """Remove all users."""
    database.rows("DELETE FROM users")
