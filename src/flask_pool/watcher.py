"""One thread per process looks at connections that have been out for long.

It logs what holds them, ends waits for servers that are frozen, and takes leaked connections back
when connections run short. It costs nothing per statement and never touches a connection whose
server answers.
"""

from __future__ import annotations

import logging
import os
import socket
import struct
import sys
import threading
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache, partial
from time import monotonic, sleep
from typing import Any

from sqlalchemy.engine import Engine
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from .connections import RECLAIMED, SHUT_DOWN, USE, descriptor
from .uses import Use, line_of

TICK = 0.5  # seconds between looks
# PostgreSQL answers this with one byte, before anybody logs in; MySQL greets unasked
SSL_REQUEST = struct.pack("!ii", 8, 80877103)

Settings = Mapping[str, Any]

logger = logging.getLogger(__name__)

# by engine, which an application of a test gives up
_watched: dict[weakref.ref[Engine], Settings] = {}
# when the server of a long use is asked again, and how long after that; twice as long each time
# it answers, since MySQL blocks clients that connect often without logging in
_next_look: weakref.WeakKeyDictionary[Use, tuple[float, float]] = weakref.WeakKeyDictionary()
_threads: dict[int, threading.Thread] = {}  # by process: a fork leaves its parent's behind
_process = os.getpid()  # where Python knows of each thread


def start(
    engine: Engine, settings: Settings, connection: DBAPIConnection, record: ConnectionPoolEntry
) -> None:
    """Have the thread of this process look at the engine; listens to `connect`."""
    _watched.setdefault(weakref.ref(engine, _watched.pop), settings)
    process = os.getpid()
    if process not in _threads:
        thread = threading.Thread(target=_run, name="flask-pool", daemon=True)
        if _threads.setdefault(process, thread) is thread:  # no other thread was faster
            try:
                thread.start()
            except RuntimeError:  # no more threads, or the interpreter ends
                del _threads[process]


def _run() -> None:
    while True:
        sleep(TICK)
        for reference, settings in list(_watched.items()):
            try:
                _look(reference, settings)
            except Exception:
                logger.exception("the watcher of connections failed")


def _look(reference: weakref.ref[Engine], settings: Settings) -> None:
    """Look at each connection that is out."""
    engine = reference()
    if engine is None:
        return
    pool: Any = engine.pool
    limit = settings["SQLALCHEMY_CONNECT_TIMEOUT"]
    # each server once
    answers = cache(partial(_answers, limit, greets=engine.dialect.driver == "pymysql"))
    for entry, seconds in pool.out():
        connection = entry.dbapi_connection
        use: Use | None = entry.info.get(USE)  # none while it is pinged
        if connection is None:
            continue
        if use is not None and not use.warned and seconds > settings["POOL_HELD_WARNING"]:
            _warn(use, seconds)
        if use is not None and use.leaked_at is not None and pool.waiting():
            _reclaim(entry, connection, use, settings)
        elif seconds > settings["SQLALCHEMY_STATEMENT_TIMEOUT"]:
            _end_frozen(entry, connection, use, seconds, limit, answers)


def _warn(use: Use, seconds: float) -> None:
    use.warned = True
    by = f" by {use.route}" if use.route else ""
    if os.getpid() != _process:  # what is left of the parent's threads crashes CPython
        state = "can't be looked at after a fork in C"
    else:
        frame = sys._current_frames().get(use.thread)  # noqa: SLF001 - documented
        state = f"stands at {line_of(frame)}" if frame else "has ended"
    message = "connection held for %.1f s%s: taken at %s; its thread %s"
    logger.warning(message, seconds, by, use.taker, state)
    use.pool.tell("held", use.route)


def _reclaim(entry: ConnectionPoolEntry, connection: Any, use: Use, settings: Settings) -> None:
    alone = monotonic() - max(use.leaked_at or 0, use.used_at)
    if hasattr(connection, "pgconn"):
        busy = connection.info.transaction_status.name == "ACTIVE"
    else:  # PyMySQL can't tell; no statement takes longer than its limit
        busy = alone <= settings["SQLALCHEMY_STATEMENT_TIMEOUT"]
    if busy or alone <= settings["POOL_LEAK_AFTER"] or not use.by_connection:
        return
    if not use.pool.reclaim(entry, lambda: _is_same(entry, connection, use)):
        return  # it was returned meanwhile
    entry.info[RECLAIMED] = (
        f"the pool has taken this connection back: it was taken at {use.taker} by a request"
        f" that has ended, and not used for {alone:.0f} s while others waited"
    )
    logger.warning("leaked connection reclaimed: taken at %s", use.taker)
    with suppress(Exception):
        connection.close()
    use.pool.tell("replaced", "leaked")


def _end_frozen(
    entry: ConnectionPoolEntry,
    connection: Any,
    use: Use | None,
    seconds: float,
    limit: float,
    answers: Callable[[int, Any], bool],
) -> None:
    """Shut a connection's socket down if its server's address says nothing any more."""
    due, wait = _next_look.get(use, (0.0, limit)) if use else (0.0, limit)
    if monotonic() < due:
        return
    number = descriptor(connection)
    with suppress(OSError), socket.socket(fileno=os.dup(number)) as sock:
        inode, address = os.fstat(sock.fileno()).st_ino, sock.getpeername()
        if descriptor(connection) != number:
            return  # its number may be another's by now
        if answers(sock.family, address):
            if use is not None:
                _next_look[use] = monotonic() + wait, wait * 2
            return
        same = _is_same(entry, connection, use) and descriptor(connection) == number
        if not same or os.fstat(number).st_ino != inode:
            return  # it was returned meanwhile
        said = (
            f"the server did not answer within {limit:g} s: the connection was shut down,"
            f" {seconds:.1f} s after it was taken"
        )
        entry.info[SHUT_DOWN] = said
        shown = ":".join(map(str, address[:2])) if isinstance(address, tuple) else address
        logger.warning("%s: %s", shown, said)
        sock.shutdown(socket.SHUT_RDWR)  # which wakes the thread that waits


def _is_same(entry: ConnectionPoolEntry, connection: Any, use: Use | None) -> bool:
    return entry.dbapi_connection is connection and entry.info.get(USE) is use


def _answers(seconds: float, family: int, address: Any, *, greets: bool) -> bool:
    """Tell whether a database server says at least one byte."""
    try:
        with socket.socket(family) as sock:
            sock.settimeout(seconds)
            sock.connect(address)
            if not greets:
                sock.sendall(SSL_REQUEST)
            sock.recv(1)
    except TimeoutError:
        return False
    except OSError:  # refused: what is there knows of its connections' end by itself
        return True
    return True


def _after_fork() -> None:
    global _process  # noqa: PLW0603 - one per process
    _process = os.getpid()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)
