"""One connection through the proxy: two sockets and a queue for each direction."""

import asyncio
import contextlib
import ctypes
import functools
import socket
import struct
import sys
from collections import deque
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .proxy import Proxy

# Linux: a socket filter of one instruction, "keep 0 bytes", drops each packet before TCP sees it
SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27
KEEP_NOTHING = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
DEAF = struct.pack("HP", 1, ctypes.addressof(KEEP_NOTHING))


class Socket(Protocol):
    """What a socket and asyncio's view of one have in common here."""

    def setsockopt(self, level: int, option: int, value: int | bytes, /) -> None:
        """Set an option."""


def set_deaf(target: Socket, *, deaf: bool) -> None:
    """Make a socket drop all that arrives, or listen again; its peer sees no acknowledgement."""
    if sys.platform == "linux":
        if deaf:
            target.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, DEAF)
        else:
            with contextlib.suppress(FileNotFoundError):
                target.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)


@functools.cache
def can_silence() -> bool:
    """Tell whether this system lets this user make a socket deaf."""
    with socket.socket() as probe:
        try:
            set_deaf(probe, deaf=True)
        except PermissionError:
            return False
    return True


def look_after(target: Socket) -> None:
    """Have the kernel ask once a second whether the other end is still there.

    Who gives up while the proxy is silent says so once (a reset) or never (TCP_USER_TIMEOUT), and
    the proxy would keep its half, and the server's connection, for ever.
    """
    if sys.platform == "linux":
        target.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        target.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
        target.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
        target.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 120)  # no silence is longer


class Side(asyncio.Protocol):
    """One socket of a connection, and what is still to be sent to it."""

    def __init__(self, connection: "Connection") -> None:
        self.connection = connection
        self.transport: asyncio.Transport | None = None
        self.is_lost = False
        self._queue: deque[tuple[float, bytes | None]] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the socket and send what is waiting for it."""
        assert isinstance(transport, asyncio.Transport)
        if self.is_lost:
            # the proxy gave the connection up while it was still connecting to the server
            transport.abort()
            return
        self.transport = transport
        handle = transport.get_extra_info("socket")
        handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        look_after(handle)
        set_deaf(handle, deaf=self.connection.proxy.is_silent)
        self.connection.made(self)
        self.flush()

    def data_received(self, data: bytes) -> None:
        """Hand data to the other side."""
        self.connection.forward(self, data)

    def connection_lost(self, _error: Exception | None) -> None:
        """Close the other side once it has got everything."""
        self.is_lost = True
        self.connection.forward(self, None)

    def send(self, data: bytes | None, delay: float) -> None:
        """Send data, or close for None, after a delay and after all that came before."""
        loop = asyncio.get_running_loop()
        self._queue.append((loop.time() + delay, data))
        self.flush()

    def flush(self) -> None:
        """Send what is due."""
        loop = asyncio.get_running_loop()
        while self._queue and self.transport and not self.connection.proxy.is_silent:
            due, data = self._queue[0]
            if due > loop.time():
                loop.call_at(due, self.flush)
                return
            self._queue.popleft()
            if data is None:
                self.transport.close()
            elif not self.transport.is_closing():
                self.transport.write(data)

    def reset(self) -> None:
        """Close the socket at once, with a reset instead of a goodbye."""
        if self.transport is None:
            self.is_lost = True
        elif not self.is_lost:
            linger = struct.pack("ii", 1, 0)
            handle = self.transport.get_extra_info("socket")
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.transport.abort()


class Connection:
    """The pair of a client's socket and the server's."""

    def __init__(self, proxy: "Proxy") -> None:
        self.proxy = proxy
        self.client_side = Side(self)
        self.server_side = Side(self)
        self._is_client_next = True
        self._is_doomed = False
        self._connecting: asyncio.Task[None] | None = None

    def made(self, side: Side) -> None:
        """Connect to the server as soon as there is a client."""
        if side is self.client_side:
            self.proxy.opened(self)
            self._connecting = asyncio.get_running_loop().create_task(self._connect())

    def forward(self, source: Side, data: bytes | None) -> None:
        """Count data and pass it on."""
        to_server = source is self.client_side
        if data:
            self.proxy.round_trips += to_server and self._is_client_next
            self._is_client_next = not to_server
            if self._is_doomed and not to_server:
                self.reset()
                return
            last_words = self.proxy.drop_after_client_says
            self._is_doomed = bool(to_server and last_words and last_words in data)
        if to_server:
            self.server_side.send(data, self.proxy.delay_to_server)
        else:
            self.client_side.send(data, self.proxy.delay_to_client)
        if self.client_side.is_lost and self.server_side.is_lost:
            self.proxy.closed(self)

    def set_silent(self, *, silent: bool) -> None:
        """Stop both sockets from hearing anything, or let them go on."""
        for side in (self.client_side, self.server_side):
            if side.transport and not side.is_lost:
                set_deaf(side.transport.get_extra_info("socket"), deaf=silent)
                side.flush()

    def reset(self) -> None:
        """Close both sockets with a reset."""
        self.client_side.reset()
        self.server_side.reset()

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(
                lambda: self.server_side, "127.0.0.1", self.proxy.server_port
            )
        except OSError:
            # there is no way to refuse a client that has been accepted: it sees a reset
            self.server_side.is_lost = True
            self.client_side.reset()
