"""A private HAProxy in front of a cluster."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from .process import Server, running
from .programs import find_program
from .workshop import account


class HAProxy(Server):
    """An HAProxy with a configuration, in which PORT stands for the port to listen on."""

    name = "haproxy"
    quit_signal = signal.SIGTERM

    def __init__(self, configuration: str) -> None:
        super().__init__(account("haproxy"), {})
        text = configuration.replace("PORT", str(self.port))
        (self.folder / "haproxy.cfg").write_text(text)

    def command(self) -> list[str]:
        """Give the command line that runs the server in the foreground."""
        return [str(find_program("haproxy")), "-db", "-f", str(self.folder / "haproxy.cfg")]

    def ask(self) -> object:
        """Connect; raise while nobody listens."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            return connection


@contextmanager
def haproxy(configuration: str) -> Iterator[HAProxy]:
    """Run a private HAProxy."""
    with running(HAProxy(configuration)) as server:
        yield server
