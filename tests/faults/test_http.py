"""What clients send is data: nothing of it is a 500, and gunicorn's own settings hold."""

from __future__ import annotations

import os
import signal
import socket
from functools import partial

import psutil
import pytest
import servers

from .conftest import Database, Serve
from .project import Project
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


def test_a_reload_with_a_wrong_value_keeps_the_settings_that_were(
    on_postgresql: Database, serve: Serve, project: Project
) -> None:
    """SIGHUP reads `.env` again; what it can't use it says, and serves on."""
    own = project.path / ".env"
    kept = own.read_text()
    service = serve(on_postgresql.url(), WEB_CONCURRENCY=1)
    assert service.process is not None
    master = psutil.Process(service.process.pid)

    def replaced(old: list[psutil.Process]) -> bool:
        new = service.workers()
        return bool(new) and not set(old) & set(new)

    try:
        for wrong, right in (("abc", False), ("2048", True)):
            before = service.workers()
            own.write_text(f"{kept}MAX_CONTENT_LENGTH={wrong}\n")
            os.kill(master.pid, signal.SIGHUP)
            servers.wait_until(partial(replaced, before))
            servers.wait_until(lambda: service.get().status == 200)
            assert ("not reloaded" in service.log()) is True
            answer = service.request("POST", "/users", {"name": "x", "more": "y" * 3000})
            assert answer.status == (413 if right else 201)
    finally:
        own.write_text(kept)
