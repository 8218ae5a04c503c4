"""Gunicorn with the application of `inside/views.py`, and clients of many kinds."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bake import ROOT
from servers.workshop import free_port

INSIDE = Path(__file__).with_name("inside")
OURS, PLAIN = "flask_pool.gunicorn.Worker", "gthread"


@dataclass
class Service:
    """A running gunicorn."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    connections: list[socket.socket] = field(default_factory=list)

    def get(self, path: str = "/", headers: dict[str, str] | None = None) -> tuple[int, str]:
        """Ask for a path on a connection of its own; return status and text."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            connection.request("GET", path, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def connect(self) -> socket.socket:
        """Return a connection on which nothing was sent."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        self.connections.append(connection)
        return connection

    def ask(
        self, path: str = "/", method: str = "GET", body: bytes = b"", more: str = ""
    ) -> socket.socket:
        """Send a request and return its connection, without waiting for the answer."""
        connection = self.connect()
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\n{length}{more}\r\n"
        connection.sendall(head.encode() + body)
        return connection

    def signal(self, number: signal.Signals) -> None:
        """Send the master a signal."""
        self.process.send_signal(number)


def read_answer(connection: socket.socket) -> tuple[int, dict[str, str]]:
    """Return status and headers of an answer; status -1 if the connection was cut off."""
    try:
        with http.client.HTTPResponse(connection) as answer:
            answer.begin()
            answer.read()
            return answer.status, dict(answer.getheaders())
    except (ConnectionError, http.client.HTTPException):
        return -1, {}


@contextlib.contextmanager
def serve(  # noqa: PLR0913
    folder: Path,
    *options: str,
    worker: str = OURS,
    workers: int = 1,
    threads: int = 4,
    bind: str | None = None,
    wait: bool = True,
    app: str = "views:app",
    **environ: str,
) -> Iterator[Service]:
    """Run gunicorn until the block ends."""
    port, log = free_port(), folder / "gunicorn.log"
    path = os.pathsep.join([environ.pop("GUNICORN", ""), str(ROOT / "src"), str(INSIDE)])
    command = [
        sys.executable, "-m", "gunicorn", "--bind", bind or f"127.0.0.1:{port}", "--worker-class",
        worker, "--workers", str(workers), "--threads", str(threads),
        "--log-file", str(log), "--graceful-timeout", "20", *options, app,
    ]  # fmt: skip
    env = {**os.environ, "PYTHONPATH": path.strip(os.pathsep), **environ}
    process = subprocess.Popen(command, cwd=folder, env=env)
    service = Service(process, port, log)
    try:
        if wait and bind is None:
            wait_for(lambda: service.get("/healthz/live")[0] == 200)
        yield service
    finally:
        for connection in service.connections:
            connection.close()
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(test: Any, seconds: float = 30) -> None:
    """Wait until something holds."""
    until = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if test():
                return
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.05)


@dataclass(frozen=True)
class Row:
    """What a client of the load met: status 0 if it left, -1 if it was cut off."""

    kind: str
    start: float
    seconds: float
    status: int


@dataclass(frozen=True)
class Load:
    """What became of an open-loop load."""

    rows: tuple[Row, ...]

    @property
    def clients(self) -> list[Row]:
        """All but the probes."""
        return [row for row in self.rows if row.kind == "c"]

    @property
    def served(self) -> list[float]:
        """Seconds of each request that was answered in time, the shortest first."""
        return sorted(row.seconds for row in self.clients if row.status == 200)

    @property
    def statuses(self) -> Counter[int]:
        """How many clients met each status."""
        return Counter(row.status for row in self.clients)

    @property
    def slowest_probe(self) -> float:
        """Seconds of the slowest answer to a probe."""
        return max(row.seconds for row in self.rows if row.kind == "p")

    def within(self, share: float) -> float:
        """Return the seconds within which this share of those served had their answer."""
        return self.served[min(len(self.served) - 1, int(share * len(self.served)))]


@dataclass(frozen=True)
class Generator:
    """The compiled `inside/load.c`."""

    program: Path

    def start(
        self, port: int, *steps: str, path: str = "/", patience: float = 2, seed: int = 1
    ) -> subprocess.Popen[str]:
        """Start a load of steps such as "60:4", clients a second and seconds."""
        command = [
            str(self.program),
            "127.0.0.1",
            str(port),
            path,
            str(patience),
            str(seed),
            *steps,
        ]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def run(self, port: int, *steps: str, **options: Any) -> Load:
        """Run a load to its end."""
        return result(self.start(port, *steps, **options))


def result(process: subprocess.Popen[str]) -> Load:
    """Return what became of a load that was started."""
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return Load(
        tuple(
            Row(kind, float(start), float(seconds), int(status))
            for kind, start, seconds, status in map(str.split, output.splitlines())
        )
    )


def compile_generator(folder: Path) -> Generator:
    """Compile the load generator."""
    program = folder / "load"
    subprocess.run(["gcc", "-O2", "-o", program, INSIDE / "load.c", "-lm"], check=True)
    return Generator(program)
