"""The worker and what clients and applications do to its connections."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from servers.workshop import free_port

from .service import Service, read_answer, serve, wait_for

ODD = "odd:app"
CLOSES = "Connection: close\r\n"


def worker_of(service: Service) -> psutil.Process:
    """Return the only worker."""
    (worker,) = psutil.Process(service.process.pid).children()
    return worker


def ask_unix(path: Path) -> tuple[int, dict[str, str]]:
    """Ask on a connection of its own, for ten seconds."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(path))
        client.sendall(b"GET /healthz/live HTTP/1.1\r\nHost: x\r\n\r\n")
        return read_answer(client)


def test_silent_client_stops_nobody(folder: Path) -> None:
    """Not even where the application sets a default timeout, which the worker's sockets had."""
    path = folder / "s"
    with serve(folder, bind=f"unix:{path}", app=ODD), socket.socket(socket.AF_UNIX) as silent:
        wait_for(path.exists)
        silent.connect(str(path))
        time.sleep(0.2)
        assert ask_unix(path)[0] == 200


def test_no_more_connections_than_worker_connections(folder: Path) -> None:
    """Clients that connect and say nothing do not use up the worker's descriptors."""
    path = folder / "s"
    with serve(folder, "--worker-connections", "8", bind=f"unix:{path}") as service:
        wait_for(path.exists)
        assert ask_unix(path)[0] == 200
        worker = worker_of(service)
        before = worker.num_fds()
        for _ in range(60):
            client = socket.socket(socket.AF_UNIX)
            client.connect(str(path))
            service.connections.append(client)
        time.sleep(1)
        assert worker.num_fds() <= before + 8
        for client in service.connections:
            client.close()
        assert ask_unix(path)[0] == 200
        assert worker_of(service) == worker


def test_listeners_take_turns(folder: Path) -> None:
    """A second address is served while clients at the first always have a next request."""
    second, until = free_port(), time.monotonic() + 6
    with serve(folder, "--bind", f"127.0.0.1:{second}", threads=2, POOL_QUEUE_TARGET="0") as first:

        def ask() -> None:
            while time.monotonic() < until:
                assert first.get("/?seconds=0.05")[0] == 200

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        other = Service(first.process, second, folder)
        assert [other.get()[0] for _ in range(3)] == [200] * 3
        assert time.monotonic() < until
        for thread in threads:
            thread.join()


def test_busy_worker_leaves_newcomers_to_idle_ones(folder: Path) -> None:
    """One of three workers has a long request; the others serve all that comes meanwhile."""
    found: Counter[int] = Counter()
    slowest, until = [0.0], time.monotonic() + 8
    with serve(folder, workers=3, threads=1) as service:
        service.ask("/?seconds=10")
        time.sleep(0.5)

        def ask() -> None:
            while time.monotonic() < until:
                began = time.monotonic()
                answer = service.ask("/?seconds=0.02", more=CLOSES)
                found[read_answer(answer)[0]] += 1
                answer.close()
                slowest[0] = max(slowest[0], time.monotonic() - began)
                time.sleep(0.02)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert set(found) == {200}
    assert slowest[0] < 5  # it would be the long request's end


@pytest.mark.parametrize("more", [b"\r\n", b"GET /late HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_answer_is_whole_though_the_client_sends_more(folder: Path, more: bytes) -> None:
    """The last answer on a connection, to a client that reads slowly."""
    with serve(folder, app=ODD) as service:
        client = service.ask("/large", more=CLOSES)
        time.sleep(0.1)
        client.sendall(more)
        time.sleep(1)
        with http.client.HTTPResponse(client) as answer:
            answer.begin()
            assert len(answer.read()) == 8_000_000


def test_end_of_an_answer_reaches_the_client_past_a_child(folder: Path) -> None:
    """A child process has the connection too, and lives on."""
    with serve(folder, app=ODD) as service:
        client = service.ask("/child", more=CLOSES)
        client.settimeout(10)
        text = b""
        while part := client.recv(4096):
            text += part
        assert text.endswith(b"parent")


def test_child_that_goes_on_as_the_worker_harms_nothing(folder: Path) -> None:
    """It has the selector too, and must not register the connection there."""
    with serve(folder, app=ODD) as service:
        worker = worker_of(service)
        client = service.ask("/lost")
        client.settimeout(10)
        assert read_answer(client)[0] in (200, 500)
        time.sleep(1)
        client.sendall(b"GET /?seconds=0 HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.5)
        before = sum(worker.cpu_times()[:2])
        time.sleep(2)
        assert sum(worker.cpu_times()[:2]) - before < 0.5
        client.close()
        assert service.get()[0] == 200


def test_socket_that_the_application_closes_late_harms_nobody(folder: Path) -> None:
    """Its number is used again by clients that come then, while the worker has the old one."""
    with serve(folder, "--keep-alive", "5", app=ODD) as service:
        worker = worker_of(service)
        for _ in range(3):
            assert read_answer(service.ask("/closes"))[0] == 200
        time.sleep(0.5)
        for _ in range(6):
            upload = service.ask("/?seconds=0", "POST", b"body", CLOSES)
            assert read_answer(upload)[0] == 200
        kept = http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)
        for _ in range(3):
            kept.request("GET", "/?seconds=0")
            assert kept.getresponse().read() == b"served"
        kept.close()
        assert worker_of(service) == worker
