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
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import Any

from sqlalchemy.engine import Engine
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from .connections import RECLAIMED, SHUT_DOWN, USE, descriptor
from .queue_pool import FairQueuePool
from .uses import Use, line_of

TICK = 0.5  # seconds between looks
# PostgreSQL answers this with one byte, before anybody logs in; MySQL greets unasked
SSL_REQUEST = struct.pack("!ii", 8, 80877103)

logger = logging.getLogger(__name__)


@dataclass
class Watched:
    """An engine's pool, and what is known of its connections that are out."""

    reference: weakref.ref[Engine]  # which an application of a test gives up
    settings: Mapping[str, Any]
    # when each long use is looked at again, and how long after that; twice as long each time
    # a server answers, since MySQL blocks clients that connect often without logging in
    next_look: weakref.WeakKeyDictionary[Use, tuple[float, float]] = field(
        default_factory=weakref.WeakKeyDictionary
    )

    def look(self) -> None:
        """Look at each connection that is out."""
        engine = self.reference()
        if engine is None or not isinstance(pool := engine.pool, FairQueuePool):
            return
        driver = engine.dialect.driver
        answers: dict[Any, bool] = {}
        for entry, seconds in pool.out():
            connection: Any = entry.dbapi_connection
            use: Use | None = entry.info.get(USE)
            if connection is None:
                continue
            if use is not None and not use.warned and seconds > self.settings["POOL_HELD_WARNING"]:
                self._warn(pool, use, seconds)
            if use is not None and use.leaked_at is not None and pool.waiting():
                self._reclaim(pool, entry, connection, use, driver)
            elif seconds > self.settings["SQLALCHEMY_STATEMENT_TIMEOUT"]:
                self._end_frozen(entry, connection, use, seconds, answers, driver)

    def _warn(self, pool: FairQueuePool, use: Use, seconds: float) -> None:
        use.warned = True
        stands = _state_of(use.thread)
        logger.warning(
            "connection held for %.1f s%s: taken at %s; its thread %s",
            seconds, f" by {use.route}" if use.route else "", use.taker, stands,
        )  # fmt: skip
        pool.tell("held", use.route)

    def _reclaim(
        self,
        pool: FairQueuePool,
        entry: ConnectionPoolEntry,
        connection: Any,
        use: Use,
        driver: str,
    ) -> None:
        alone = monotonic() - max(use.leaked_at or 0, use.used_at)
        patience = self.settings["POOL_LEAK_AFTER"]
        if driver == "psycopg":
            busy = connection.info.transaction_status.name == "ACTIVE"
        else:  # PyMySQL can't tell; no statement takes longer than its limit
            busy = alone <= self.settings["SQLALCHEMY_STATEMENT_TIMEOUT"]
        if busy or alone <= patience or not use.by_connection:
            return
        if not pool.reclaim(entry, lambda: self._is_same(entry, connection, use)):
            return  # it was returned meanwhile
        entry.info[RECLAIMED] = (
            f"the pool has taken this connection back: it was taken at {use.taker} by a request"
            f" that has ended, and not used for {alone:.0f} s while others waited"
        )
        logger.warning("leaked connection reclaimed: taken at %s", use.taker)
        with suppress(Exception):
            connection.close()
        pool.tell("replaced", "leaked")

    def _end_frozen(
        self,
        entry: ConnectionPoolEntry,
        connection: Any,
        use: Use | None,
        seconds: float,
        answers: dict[Any, bool],
        driver: str,
    ) -> None:
        limit: float = self.settings["SQLALCHEMY_CONNECT_TIMEOUT"]
        due, wait = self.next_look.get(use, (0.0, limit)) if use else (0.0, limit)
        number = descriptor(connection)
        if monotonic() < due or number is None or number < 0:
            return
        with suppress(OSError), socket.socket(fileno=os.dup(number)) as sock:
            inode, address = os.fstat(sock.fileno()).st_ino, sock.getpeername()
            if descriptor(connection) != number:
                return  # its number may be another's by now
            if address not in answers:
                greets = driver == "pymysql"
                answers[address] = _answers(sock.family, address, limit, greets=greets)
            if answers[address]:
                if use is not None:
                    self.next_look[use] = monotonic() + wait, wait * 2
                return
            same = self._is_same(entry, connection, use) and descriptor(connection) == number
            if not same or os.fstat(number).st_ino != inode:
                return  # it was returned meanwhile
            said = (
                f"the server did not answer within {limit:g} s: the connection was shut down,"
                f" {seconds:.1f} s after it was taken"
            )
            entry.info[SHUT_DOWN] = said
            logger.warning("%s: %s", _shown(address), said)
            sock.shutdown(socket.SHUT_RDWR)  # which wakes the thread that waits

    def _is_same(self, entry: ConnectionPoolEntry, connection: Any, use: Use | None) -> bool:
        return entry.dbapi_connection is connection and entry.info.get(USE) is use


def _state_of(thread: int) -> str:
    if os.getpid() != _process:  # what is left of the parent's threads crashes CPython
        return "can't be looked at after a fork in C"
    frame = sys._current_frames().get(thread)  # noqa: SLF001 - documented
    return f"stands at {line_of(frame)}" if frame else "has ended"


def _answers(family: int, address: Any, seconds: float, *, greets: bool) -> bool:
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


def _shown(address: Any) -> str:
    return ":".join(map(str, address[:2])) if isinstance(address, tuple) else str(address)


_watched: weakref.WeakKeyDictionary[Engine, Watched] = weakref.WeakKeyDictionary()
_thread: tuple[int, threading.Thread] | None = None
_lock = threading.Lock()
_process = os.getpid()  # where Python knows of each thread


def _after_fork() -> None:
    global _process  # noqa: PLW0603 - one per process
    _process = os.getpid()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)


def start(
    engine: Engine,
    settings: Mapping[str, Any],
    connection: DBAPIConnection,
    record: ConnectionPoolEntry,
) -> None:
    """Have the thread of this process look at the engine; listens to `connect`."""
    global _thread, _lock  # noqa: PLW0603 - one per process
    process = os.getpid()
    if _thread is not None and _thread[0] != process:  # the lock may have been held in the parent
        _lock, _thread = threading.Lock(), None
    with _lock:
        if engine not in _watched:
            _watched[engine] = Watched(weakref.ref(engine), settings)
        if _thread is None or not _thread[1].is_alive():
            _thread = process, threading.Thread(target=_run, name="flask-pool", daemon=True)
            with suppress(RuntimeError):  # no more threads, or the interpreter ends
                _thread[1].start()


def _run() -> None:
    while True:
        sleep(TICK)
        for watched in list(_watched.values()):
            try:
                watched.look()
            except Exception:
                logger.exception("the watcher of connections failed")
