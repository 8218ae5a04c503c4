"""The pool: SQLAlchemy's QueuePool behind a fair gate, measured."""

from __future__ import annotations

from time import perf_counter
from typing import Any, cast

from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import PoolProxiedConnection, QueuePool

from .gate import Gate
from .metrics import PoolMetrics

Info = dict[str, "Slot"]  # what stays with a place in the pool


class Slot:
    """One checkout: the right to hold one connection, given back exactly once."""

    __slots__ = ("connection", "pool", "released", "taken")

    def __init__(self, pool: MeteredPool) -> None:
        self.pool = pool
        self.connection: DBAPIConnection | None = None
        self.taken = perf_counter()
        self.released = False

    def release(self) -> None:
        """Let the next one in."""
        if not self.released:
            self.released = True
            self.pool.gate.release()


class MeteredPool(QueuePool):
    """A QueuePool that serves waiters in order and measures what it does."""

    def __init__(
        self,
        creator: Any,
        pool_size: int = 5,
        max_overflow: int = 10,
        timeout: float = 30.0,
        recycle: int = -1,
        max_wait: float | None = None,
        max_waiting: int | None = None,
        ping_after: float = 1.0,
        **kw: Any,
    ) -> None:
        # Flask-SQLAlchemy's engine_from_config cuts pool_timeout down to whole seconds
        timeout = timeout if max_wait is None else max_wait
        # QueuePool's own recycle follows the wall clock, and a fleet reconnects at once
        super().__init__(creator, pool_size, max_overflow, timeout, recycle=-1, **kw)
        capacity = pool_size + max_overflow
        self.gate = Gate(capacity, timeout, max_waiting, max_overflow, self.checkedin)
        self.recycle = recycle
        self.ping_after = ping_after
        self.metrics = PoolMetrics("default")
        self.disposed = False

    def connect(self) -> PoolProxiedConnection:
        """Wait in line, then take a connection; TimeoutError if none is returned in time."""
        asked = perf_counter()
        self._pass_gate(asked)
        slot = Slot(self)
        try:
            connection = super().connect()
            info = cast(Info, connection.record_info)
            if "slot" in info:  # detached a moment ago, its event is still to come
                info["slot"].release()
            info["slot"] = slot
            slot.connection = connection.dbapi_connection
        except BaseException:
            slot.release()
            raise
        slot.taken = perf_counter()
        self.metrics.taken(slot.taken - asked)
        return connection

    def recreate(self) -> MeteredPool:
        """Return an empty pool with the same settings."""
        new = cast(MeteredPool, super().recreate())
        new.gate.max_waiting = self.gate.max_waiting
        new.recycle, new.ping_after, new.metrics = self.recycle, self.ping_after, self.metrics
        return new

    def dispose(self) -> None:
        """Close what is idle; what is in use is closed when it comes back."""
        self.disposed = True
        super().dispose()

    def _pass_gate(self, asked: float) -> None:
        if self.gate.take():
            return
        self.metrics.queued(1)
        try:
            self.gate.wait()
        except PoolTimeoutError:
            self.metrics.timed_out(perf_counter() - asked)
            raise
        finally:
            self.metrics.queued(-1)
