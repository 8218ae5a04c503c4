"""What a driver's connection says of itself, through documented attributes and its socket.

Not documented, each with what is lost without it: PyMySQL's `_sock` (its socket is not asked),
`_read_timeout` (no time limit for its handshake), `server_status` (no ROLLBACK is left out),
`_result` and `_next_seq_id` (a connection that another thread asks on is rolled back all the same).
"""

from __future__ import annotations

import os
import select
import socket
from contextlib import suppress
from enum import Enum
from typing import Any

CAN_POLL = hasattr(select, "poll")  # not on Windows
RDHUP = getattr(select, "POLLRDHUP", 0)  # Linux alone has it; elsewhere a ping has to tell
# what the record of a connection remembers
USE = "flask_pool.use"
WAS_READ_ONLY = "flask_pool.was_read_only"
SET_READ_ONLY = "flask_pool.set_read_only"  # by the application
RECLAIMED = "flask_pool.reclaimed"
SHUT_DOWN = "flask_pool.shut_down"

CLOSED, NO_SOCKET = -1, -2  # in place of a socket's number
IDLE, ACTIVE, INTRANS, INERROR = 0, 1, 2, 3  # libpq's PGTransactionStatusType

DEAD_EVENTS = RDHUP | getattr(select, "POLLHUP", 0) | getattr(select, "POLLERR", 0)


class Socket(Enum):
    """What a connection's socket says without a round trip."""

    QUIET = "quiet"  # nothing, as it should while no statement runs; or it can't be asked
    READABLE = "readable"  # the server sent something unasked: a NOTIFY, the rest of an answer
    DEAD = "dead"  # the server has closed its end


def descriptor(connection: Any) -> int:
    """Return the number of a connection's socket; CLOSED, or NO_SOCKET if it can't be asked."""
    driver = connection.__class__  # a tracer's wrapper names the class that it wraps
    try:
        if hasattr(driver, "fileno"):  # psycopg
            return int(connection.fileno())
        if not hasattr(driver, "_sock"):
            return NO_SOCKET
        sock = connection._sock  # noqa: SLF001 - PyMySQL
        return CLOSED if sock is None else int(sock.fileno())
    except (AttributeError, NotImplementedError, TypeError):
        return NO_SOCKET
    except Exception:  # noqa: BLE001 - the driver's own: it has none any more
        return CLOSED


def ask_socket(connection: Any) -> Socket:
    """Ask a connection's socket what it knows by now."""
    number = descriptor(connection)
    if number == CLOSED:
        return Socket.DEAD
    if number == NO_SOCKET or not CAN_POLL:
        return Socket.QUIET
    poll = select.poll()
    poll.register(number, select.POLLIN | RDHUP)
    found = poll.poll(0)
    if not found:
        return Socket.QUIET
    return Socket.DEAD if found[0][1] & DEAD_EVENTS else Socket.READABLE


def in_transaction(connection: Any) -> bool:
    """Tell whether a psycopg connection has begun a transaction, or has failed in it."""
    pgconn = getattr(connection, "pgconn", None)
    return pgconn is not None and pgconn.transaction_status in (INTRANS, INERROR)


def is_settled(connection: Any) -> bool:
    """Tell whether a psycopg connection is open and nothing is being asked on it."""
    pgconn = getattr(connection, "pgconn", None)
    return pgconn is not None and pgconn.transaction_status in (IDLE, INTRANS, INERROR)


def cut(connection: Any) -> bool:
    """Put a dead socket in place of this connection's, in this process alone, if it has one.

    So whatever a child process does with a connection of its parent fails as if the server
    had gone, and nothing reaches the server.
    """
    number = descriptor(connection)
    if number < 0:
        return False
    dead, other = socket.socketpair()
    other.close()
    os.dup2(dead.fileno(), number)
    dead.close()
    return True


def limit_silence(connection: Any, seconds: float) -> None:
    """Have the kernel give up a TCP connection whose other end acknowledges nothing."""
    with suppress(OSError), socket.socket(fileno=os.dup(descriptor(connection))) as sock:
        if sock.family == socket.AF_UNIX:
            return
        whole = max(1, round(seconds))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (
            ("TCP_KEEPIDLE", whole),
            ("TCP_KEEPINTVL", 1),
            ("TCP_KEEPCNT", whole),
            ("TCP_USER_TIMEOUT", int(seconds * 1000)),
        ):
            if hasattr(socket, name):  # by system
                with suppress(OSError):
                    sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
