"""A TCP proxy that counts, delays, cuts and silences what goes through it."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

from .connection import Connection, set_deaf

T = TypeVar("T")

PATIENCE = 10  # seconds for connections to end, and for an answer of the proxy's own thread


class Proxy:
    """Stand between clients and a server on the loopback.

    A round trip is client-to-server data at the start of a connection or after server-to-client
    data: a change of direction. So a request and its answer are one however many packets they
    take, a pipeline is one, connecting to PostgreSQL takes several, and the goodbye that a client
    sends when it closes a connection is one too. It is counted before it is forwarded: whoever
    has the answer sees the count. Nobody answers a goodbye: wait for `open_connections` to be 0.

    Delays are seconds in one direction, rounded up to a millisecond by the event loop's clock.
    TCP's own handshake has none.
    """

    def __init__(self, server_port: int) -> None:
        self.server_port = server_port
        self.port = 0
        self.connections = 0
        self.round_trips = 0
        self.delay_to_server = 0.0
        self.delay_to_client = 0.0
        # a connection on which a client says this gets no answer to it, and is reset
        self.drop_after_client_says = b""
        self.is_silent = False
        self._open: set[Connection] = set()
        self._listener: socket.socket
        self._loop: asyncio.AbstractEventLoop
        self._end = asyncio.Event()
        self._empty = asyncio.Event()
        self._thread: threading.Thread

    @property
    def open_connections(self) -> int:
        """Tell how many clients are connected now."""
        return len(self._open)

    def __enter__(self) -> Self:
        """Listen on a free port of the loopback."""
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = self._listener.getsockname()[1]
        ready = threading.Event()
        self._thread = threading.Thread(
            target=asyncio.run, args=(self._serve(ready),), name="proxy", daemon=True
        )
        self._thread.start()
        assert ready.wait(PATIENCE)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the port and every connection."""
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(2 * PATIENCE)
        if self._thread.is_alive():
            raise RuntimeError("the proxy's thread does not end")

    def drop(self) -> int:
        """Reset every connection, as a firewall does, and tell how many there were."""
        return self._call(self._drop)

    def silence(self) -> None:
        """Become a black hole: keep connections, forward nothing, acknowledge nothing (Linux).

        New clients get no answer to their connection request either.
        """
        self._call(lambda: self._set_silent(silent=True))

    def speak(self) -> None:
        """End the silence; what was held back arrives when TCP sends it again, within seconds."""
        self._call(lambda: self._set_silent(silent=False))

    def opened(self, connection: Connection) -> None:
        """Take note of a client."""
        self.connections += 1
        self._open.add(connection)
        self._empty.clear()

    def closed(self, connection: Connection) -> None:
        """Forget a connection whose two sockets are closed."""
        self._open.discard(connection)
        if not self._open:
            self._empty.set()

    async def _serve(self, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._empty.set()
        server = await self._loop.create_server(
            lambda: Connection(self).client_side, sock=self._listener
        )
        ready.set()
        await self._end.wait()
        server.close()
        self._drop()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), PATIENCE)

    def _drop(self) -> int:
        dropped = list(self._open)
        for connection in dropped:
            connection.reset()
        return len(dropped)

    def _set_silent(self, *, silent: bool) -> None:
        self.is_silent = silent
        set_deaf(self._listener, deaf=silent)
        for connection in self._open:
            connection.set_silent(silent=silent)

    def _call(self, function: Callable[[], T]) -> T:
        """Run a function in the loop's thread and give its result."""

        async def call() -> T:
            return function()

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(PATIENCE)
