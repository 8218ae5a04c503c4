"""What clients send is data: nothing of it is a 500, and gunicorn's own settings hold."""

from __future__ import annotations

import socket

import pytest

from .conftest import Database, Serve
from .service import Service

POST = "POST /users HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"


def say(service: Service, words: bytes) -> int:
    """Send raw bytes and give the status of the answer."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as client:
        client.sendall(words)
        return int(client.recv(100).split()[1])


@pytest.mark.parametrize("chunk", ["zz\r\nabc\r\n", "-1\r\n", "3\r\nabcd\r\n", "\r\n", "0xc\r\n"])
def test_chunks_that_are_none_are_a_bad_request(
    on_postgresql: Database, serve: Serve, chunk: str
) -> None:
    """The server notices while the view reads."""
    service = serve(on_postgresql.url(), WEB_CONCURRENCY=1)

    status = say(service, f"{POST}Transfer-Encoding: chunked\r\n\r\n{chunk}\r\n".encode())

    assert status == 400
    assert "Traceback" not in service.log()


def test_a_header_says_nothing_of_where_the_service_lies(
    on_postgresql: Database, serve: Serve
) -> None:
    """SCRIPT_NAME would move every link, and break every route."""
    service = serve(on_postgresql.url(), WEB_CONCURRENCY=1)
    head = "GET /users HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"

    assert say(service, f"{head}SCRIPT_NAME: //elsewhere\r\n\r\n".encode()) in (200, 400)
    assert say(service, head.encode() + b"Authorization: Basic \xff\r\n\r\n") == 200
    metrics = head.replace("/users", "/metrics").encode()
    assert say(service, metrics + b"Authorization: Basic \xff\r\n\r\n") == 404
