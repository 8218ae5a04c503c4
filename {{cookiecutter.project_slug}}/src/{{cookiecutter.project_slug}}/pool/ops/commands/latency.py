"""A network that is `MS` milliseconds away: `python latency.py HOST PORT MS`, until stdin ends.

A process of its own, as its threads would take the one that is measured its time. What a client
sends is held back for a whole round trip, and so is its connect; answers pass at once.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Thread
from time import sleep
from typing import IO, cast


class Far(ThreadingTCPServer):
    """A server at one end of the network."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, host: str, port: int, delay: float) -> None:
        super().__init__(("127.0.0.1", 0), Line)
        self.host, self.port, self.delay = host, port, delay


class Line(BaseRequestHandler):
    """One connection."""

    server: Far

    def handle(self) -> None:
        """Carry bytes both ways until one side closes."""
        sleep(self.server.delay)
        with (
            suppress(OSError),
            socket.create_connection((self.server.host, self.server.port)) as far,
        ):
            for end in (far, self.request):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            Thread(target=carry, args=(far, self.request, 0), daemon=True).start()
            carry(self.request, far, self.server.delay)


def carry(source: socket.socket, target: socket.socket, delay: float) -> None:
    """Pass on what arrives, and then the end."""
    with suppress(OSError):
        while data := source.recv(65536):
            sleep(delay)
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@contextmanager
def far_away(host: str, port: int, milliseconds: float) -> Iterator[int]:
    """Put the server that far away; yield the local port that leads there."""
    command = [sys.executable, "-I", __file__, host, str(port), str(milliseconds)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as process:  # noqa: S603
        try:
            yield int(cast(IO[bytes], process.stdout).readline())
        finally:
            process.kill()


def main(host: str, port: str, milliseconds: str) -> None:
    """Serve until standard input ends, as it does when its parent is gone."""
    server = Far(host, int(port), float(milliseconds) / 1000)
    Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    sys.stdin.read()
    os._exit(0)  # connections may be open


if __name__ == "__main__":
    main(*sys.argv[1:])
