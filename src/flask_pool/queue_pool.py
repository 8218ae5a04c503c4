"""The pool: connections are handed out, and waiters served, first in, first out."""

from __future__ import annotations

import math
import os
import random
import threading
import weakref
from collections import deque
from collections.abc import Callable
from time import monotonic, time
from typing import Any, cast

from sqlalchemy.engine import Dialect
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from .connections import Socket, ask_socket, cut, in_transaction
from .errors import TimeoutError as PoolTimeoutError
from .errors import TooManyWaiting
from .observer import Observer

PATIENCE = 0.1  # seconds, at most, to wait for a connection that another thread returns


class FairQueuePool(QueuePool):
    """A QueuePool with one queue: the longest waiter gets the next connection or the next slot.

    A slot is the right to one of `pool_size + max_overflow` connections. A connection that comes
    back goes to the longest waiter, and so does the slot of one that could not be opened: waiters
    are served in order, and no wake-up is lost. While connections come back, a slot beyond
    `pool_size` is given only after a wait as long as the last connect (PATIENCE at most), so that
    few connections are opened only to be closed again. A child process starts with no connections
    and never touches its parent's.

    Beyond QueuePool's own arguments: `max_waiting` threads may wait at once (None: any number);
    a connection idle for more than `ping_after` seconds is pinged before it is handed out (None:
    never); `wait_timeout` stands for `timeout` where that can't be given in parts of a second;
    `jitter` is the share of `recycle` by which connections live shorter, so that not all are
    replaced at once, and makes their age follow a clock that nobody can set.
    """

    def __init__(
        self,
        creator: Any,
        pool_size: int = 5,
        max_overflow: int = 10,
        timeout: float = 30.0,
        recycle: float = -1,
        max_waiting: int | None = None,
        ping_after: float | None = None,
        wait_timeout: float | None = None,
        jitter: float = 0.0,
        use_lifo: bool = False,
        **kw: Any,
    ) -> None:
        if pool_size < 0 or max_overflow < -1:
            raise ArgumentError(f"pool_size {pool_size}, max_overflow {max_overflow}: not negative")
        timeout = timeout if wait_timeout is None else wait_timeout
        own = -1 if jitter else cast(int, recycle)
        super().__init__(creator, pool_size, max_overflow, timeout, use_lifo, recycle=own, **kw)
        limited = pool_size > 0 and max_overflow >= 0
        self.capacity: float = pool_size + max_overflow if limited else math.inf
        self.recycle = recycle
        self.jitter = jitter
        self.max_waiting = max_waiting
        self.ping_after = ping_after
        # tells whether a failed connect may succeed now; the extension fills it in
        self.try_again: Callable[[BaseException], bool] | None = None
        self.observers: list[Observer] = []
        self._take_last = use_lifo
        self._size = pool_size
        self._replaced_by_another = False
        # kept for good: closing one here would reach the server, or SQLite's files
        self._left_behind: set[ConnectionPoolEntry] = set()
        self._start_empty()
        pools.add(self)

    def _start_empty(self) -> None:
        self._process = os.getpid()
        # reentrant, as the garbage collector may return a connection in a thread that holds it
        self._lock = threading.RLock()
        self._serving = False
        self._idle: deque[ConnectionPoolEntry] = deque()
        self._waiters: deque[_Waiter] = deque()
        self._entries: dict[ConnectionPoolEntry, _Times] = {}
        # places taken beyond those that are kept; connections that are being opened have one
        self._overflow = -self._size
        self._returned = -math.inf  # when a connection last came back
        self._connect_time = 0.0  # what opening the last one took

    # what there is

    def size(self) -> int:
        """Return how many connections are kept."""
        return self._size

    def checkedin(self) -> int:
        """Return how many connections are idle."""
        return len(self._idle)

    def checkedout(self) -> int:
        """Return how many connections are in use."""
        return self._size + self._overflow - len(self._idle)

    def waiting(self) -> int:
        """Return how many threads wait for a connection."""
        return len(self._waiters)

    def open_idle(self) -> int:
        """Return how many of the idle places have a connection that is open."""
        with self._lock:
            return sum(entry.dbapi_connection is not None for entry in self._idle)

    def tell(self, happening: str, *arguments: object) -> None:
        """Tell those who listen, see `Observer`."""
        for observer in self.observers:
            getattr(observer, happening)(self, *arguments)

    # handing out: QueuePool's hooks

    def _do_get(self) -> ConnectionPoolEntry:
        asked = monotonic()
        if os.getpid() != self._process:  # forked in C, past `os.register_at_fork`
            self.leave_behind()
        # SQLAlchemy gives up what was opened before that moment; a clock set back would prolong it
        if self._invalidate_time:
            self._invalidate_time = min(self._invalidate_time, time())
        entry = self._next_entry(asked)
        if entry is None:
            entry = self._new_entry()
        else:
            times = self._entries[entry]
            times.taken, times.out = monotonic(), True
            try:
                self._examine(entry, times)
            except BaseException:
                self._do_return_conn(entry)
                raise
        times = self._entries[entry]
        times.taken, times.out = monotonic(), True
        self.tell("checked_out", times.taken - asked)
        return entry

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        now = monotonic()
        with self._lock:
            times = self._entries.get(record)
            if times is not None:
                used, times.out = now - times.taken, False
                self._returned = times.idle_since = now
                keep = not self._replaced_by_another and (
                    bool(self._waiters) or len(self._idle) < self._size
                )
                if keep:
                    self._idle.append(record)
                    self._serve()
        if times is None:  # it was reclaimed, or is a parent process's
            if record not in self._left_behind:
                record.close()
            return
        if not keep:  # closed before its place is free, so that there are never too many
            self._close(record)
        self.tell("checked_in", used)

    def _next_entry(self, asked: float) -> ConnectionPoolEntry | None:
        """Wait in the queue; return an entry, or None for a place that has none yet."""
        with self._lock:
            if self._idle and not self._waiters:
                return self._idle.pop() if self._take_last else self._idle.popleft()
            waiter = _Waiter(self._patience(asked))
            self._waiters.append(waiter)
            self._serve()
            if self.max_waiting is not None and len(self._waiters) > self.max_waiting:
                self._refuse_too_many()
        if not waiter.served:
            self.tell("queued")
            self._await(waiter, asked)
        return waiter.entry

    def _refuse_too_many(self) -> None:
        """Refuse the waiter who came last, unless places are left for one who only was patient."""
        for waiter in self._waiters:
            waiter.patience = 0.0
        self._serve()
        if len(self._waiters) > cast(int, self.max_waiting):
            self._waiters.pop()
            self.tell("timed_out", 0.0)
            threads = "1 thread is" if self.max_waiting == 1 else f"{self.max_waiting} threads are"
            raise TooManyWaiting(
                f"max_waiting={self.max_waiting} reached: {threads} already waiting"
                " for a connection"
            )

    def _patience(self, asked: float) -> float:
        """Return how long to wait for a connection in use rather than to open one more."""
        timeout = self.timeout()
        patience = min(self._connect_time, PATIENCE, math.inf if timeout is None else timeout)
        return patience if self._overflow >= 0 and asked - self._returned < patience else 0.0

    def _await(self, waiter: _Waiter, asked: float) -> None:
        timeout = self.timeout()
        try:
            patience = waiter.patience
            if patience > 0:
                if waiter.turn.acquire(timeout=patience):
                    return
                with self._lock:
                    waiter.patience = 0.0
                    self._serve()
            if waiter.turn.acquire(timeout=-1 if timeout is None else max(timeout - patience, 0)):
                return
        except BaseException:  # such as KeyboardInterrupt
            self._step_out(waiter)
            if waiter.served and waiter.entry is None:
                self._leave_place()
            elif waiter.entry is not None:
                self._do_return_conn(waiter.entry)
            raise
        self._step_out(waiter)  # unless its turn came just now
        if not waiter.served:
            self.tell("timed_out", monotonic() - asked)
            raise PoolTimeoutError(
                f"QueuePool limit of size {self._size} overflow {self.capacity - self._size}"
                f" reached, no connection was returned within {timeout:g} s"
            )

    def _step_out(self, waiter: _Waiter) -> None:
        with self._lock:
            if not waiter.served:
                self._waiters.remove(waiter)

    def _serve(self) -> None:
        """Hand idle connections and free slots to waiters. The caller holds the lock."""
        if self._serving:  # the garbage collector returned a connection in the middle of this
            return
        while self._waiters and (self._idle or self._has_place()):
            self._serving = True
            try:
                if self._idle:
                    entry = self._idle.popleft()
                elif self._waiters[0].patience:
                    break
                else:
                    entry = None
                    self._overflow += 1
                self._waiters.popleft().serve(entry)
            finally:
                self._serving = False

    def _has_place(self) -> bool:
        return self._size + self._overflow < self.capacity

    def _new_entry(self) -> ConnectionPoolEntry:
        started = monotonic()
        try:
            try:
                entry = self._create_connection()
            except Exception as error:
                if self.try_again is None or not self.try_again(error):
                    raise
                entry = self._create_connection()
        except BaseException:
            self._leave_place()
            raise
        self._connect_time = monotonic() - started
        self._entries[entry] = _Times(self._expiry())
        return entry

    def _close(self, entry: ConnectionPoolEntry) -> None:
        del self._entries[entry]
        try:
            entry.close()
        finally:
            self._leave_place()

    def _leave_place(self) -> None:
        with self._lock:
            self._overflow -= 1
            self._serve()

    # looking after connections

    def _examine(self, entry: ConnectionPoolEntry, times: _Times) -> None:
        """Have an entry connect anew if its connection is too old or dead."""
        connection = entry.dbapi_connection
        if connection is not None:
            reason = self._why_replace(entry, connection, times)
            if reason is None:
                return
            self.tell("replaced", reason)
            entry.invalidate(DisconnectionError(reason))
        times.expires = self._expiry()

    def _why_replace(
        self, entry: ConnectionPoolEntry, connection: Any, times: _Times
    ) -> str | None:
        if times.taken > times.expires:
            return "recycled"
        said = ask_socket(connection)  # no round trip
        if said is Socket.DEAD:
            return "dead"
        idle = times.taken - times.idle_since
        idle_for_long = self.ping_after is not None and idle > self.ping_after
        # pool_reset_on_return=None: amid a transaction no ping can be sent, and none is needed
        if (idle_for_long or said is Socket.READABLE) and not in_transaction(connection):
            # with one that died SQLAlchemy gives up all that are older: a ping would only take time
            given_up = self._invalidate_time > cast(Any, entry).starttime
            return None if not given_up and self._alive(connection) else "dead"
        return None

    def _alive(self, connection: DBAPIConnection) -> bool:
        dialect = cast(Dialect, self._dialect)
        if not hasattr(dialect, "do_ping"):  # a pool without an engine can't ask
            return False
        try:
            return dialect.do_ping(connection)
        except dialect.loaded_dbapi.Error:
            return False

    def _expiry(self) -> float:
        if not self.jitter or self.recycle < 0:
            return math.inf  # SQLAlchemy's clock tells, if any
        return monotonic() + self.recycle * (1 - self.jitter * random.random())  # noqa: S311

    # ends

    def recreate(self) -> FairQueuePool:
        """Return an empty pool with the same settings, which takes the place of this one."""
        new = cast(FairQueuePool, super().recreate())
        new.recycle, new.jitter = self.recycle, self.jitter
        new.max_waiting, new.ping_after = self.max_waiting, self.ping_after
        new.try_again, new.observers = self.try_again, self.observers
        self._replaced_by_another = True
        return new

    def dispose(self) -> None:
        """Close what is idle; after `recreate`, also what is in use when it comes back."""
        with self._lock:
            idle = list(self._idle)
            self._idle.clear()
        for entry in idle:
            self._close(entry)
        self.tell("closed")

    def out(self) -> list[tuple[ConnectionPoolEntry, float]]:
        """Return the connections that are in use, each with the time since it was taken."""
        now = monotonic()
        entries = list(self._entries.items())
        return [(entry, now - times.taken) for entry, times in entries if times.out]

    def reclaim(self, entry: ConnectionPoolEntry, still: Callable[[], bool]) -> bool:
        """Count a connection in use as gone, if that is `still` right; it never comes back."""
        with self._lock:
            times = self._entries.get(entry)
            if times is None or not times.out or not still():
                return False
            del self._entries[entry]
        self._leave_place()
        return True

    def leave_behind(self) -> None:
        """Start with no connections; those of the parent process are neither used nor closed."""
        self._left_behind |= self._entries.keys()
        self._start_empty()

    def cut(self) -> None:
        """Have whatever a child process does with its parent's connections fail in the child."""
        for entry in list(self._left_behind):
            if entry.dbapi_connection is not None and cut(entry.dbapi_connection):
                in_use = cast(Any, entry).fairy_ref
                if in_use and in_use():  # so its session ends without an error: nothing is sent
                    in_use().invalidate()


class _Times:
    """When a connection was taken and returned, and when it is to be replaced."""

    __slots__ = ("expires", "idle_since", "out", "taken")

    def __init__(self, expires: float) -> None:
        self.taken = self.idle_since = monotonic()
        self.out = False
        self.expires = expires


class _Waiter:
    """A thread in the queue."""

    __slots__ = ("entry", "patience", "served", "turn")

    def __init__(self, patience: float) -> None:
        self.patience = patience  # how long it leaves free places alone
        self.turn = threading.Lock()
        self.turn.acquire()
        self.entry: ConnectionPoolEntry | None = None
        self.served = False

    def serve(self, entry: ConnectionPoolEntry | None) -> None:
        """Let the thread go on, with an entry or with a place for a new one."""
        self.entry = entry
        self.served = True
        self.turn.release()


pools: weakref.WeakSet[FairQueuePool] = weakref.WeakSet()


def _after_fork() -> None:
    for pool in list(pools):
        pool.leave_behind()
        pool.cut()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)
