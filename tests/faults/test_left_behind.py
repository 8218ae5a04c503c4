"""What a request leaves behind on its connection, the next one never meets."""

from __future__ import annotations

import socket

import pytest

from .conftest import Database, Serve
from .load import load, statuses
from .service import WITH_VIEWS


@pytest.mark.parametrize("how", ["query_in_a_thread", "rows_not_fetched", "copy_not_finished"])
def test_a_connection_in_the_middle_of_an_answer_is_not_handed_out(
    database: Database, share: Serve, how: str
) -> None:
    """A helper thread still asks, a cursor was not read to its end: the next request is served."""
    service = share(
        database.url(), *WITH_VIEWS, WEB_CONCURRENCY=1, WEB_THREADS=2, SQLALCHEMY_POOL_SIZE=1
    )

    for _ in range(3):
        service.get(f"/probe/{how}")
        after = load(lambda _: service.get(), 6, threads=2)
        assert statuses(after) == {200: 6}, after
        assert service.post("someone").status == 201


def test_a_stream_gives_its_connection_back_however_it_ends(
    database: Database, share: Serve
) -> None:
    """Read to the end or abandoned, the pool's one connection is there for the next request."""
    service = share(
        database.url(), *WITH_VIEWS, WEB_CONCURRENCY=1, WEB_THREADS=2, SQLALCHEMY_POOL_SIZE=1
    )
    names = [f"user {number:04}" for number in range(200)]
    load(lambda number: service.post(names[number]), len(names), threads=1)

    for _ in range(3):
        assert sorted(service.get("/probe/stream").text.split("\n")[:-1]) == names
        with socket.create_connection(("127.0.0.1", service.port)) as client:
            client.sendall(b"GET /probe/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert client.recv(20).startswith(b"HTTP/1.1 200")
        assert service.get("/users").status == 200
