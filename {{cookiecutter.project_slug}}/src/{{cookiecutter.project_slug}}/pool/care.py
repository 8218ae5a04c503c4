"""What is done for a connection between its creation and its end, by the pool's events."""

from __future__ import annotations

import random
from collections.abc import Mapping
from time import monotonic, perf_counter
from typing import Any, cast

from sqlalchemy import event
from sqlalchemy.engine import Dialect, Engine
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DisconnectionError, InvalidatePoolError
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from .metered import Info, MeteredPool
from .metrics import PoolMetrics

JITTER = 0.1  # a connection lives for 90 to 100 % of the recycle time
GRACE = 0.5  # seconds that a server has to report its own timeout before the client acts


class Care:
    """Creates, checks, replaces and counts the connections of one engine."""

    def __init__(self, engine: Engine, metrics: PoolMetrics, settings: Mapping[str, Any]) -> None:
        self.engine = engine
        self.metrics = metrics
        self.dialect = engine.dialect
        self.ping_timeout = settings["SQLALCHEMY_CONNECT_TIMEOUT"]
        self.deadline = settings["SQLALCHEMY_STATEMENT_TIMEOUT"] + GRACE
        self.bounded = engine.dialect.driver in ("psycopg", "pymysql")

    @property
    def pool(self) -> MeteredPool:
        """The engine's pool; `dispose` puts a new one in its place."""
        return cast(MeteredPool, self.engine.pool)

    def do_connect(
        self, dialect: Dialect, record: ConnectionPoolEntry, cargs: Any, cparams: Any
    ) -> DBAPIConnection:
        """Connect, and measure how long that takes."""
        started = perf_counter()
        connection: Any
        if dialect.driver == "psycopg":
            from . import driver_psycopg  # each driver may be missing

            connection = driver_psycopg.Connection.connect(*cargs, **cparams)
            connection.deadline = self.deadline
        elif dialect.driver == "pymysql":
            from . import driver_pymysql

            connection = driver_pymysql.Connection(*cargs, **cparams)
        else:
            connection = dialect.connect(*cargs, **cparams)
        seconds = perf_counter() - started
        self.metrics.created(seconds)
        if isinstance(self.engine.pool, MeteredPool):
            self.engine.pool.gate.connected(seconds)
        return cast(DBAPIConnection, connection)

    def connect(self, connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        """Give the new connection its lifetime; the clock is one that nobody can set."""
        record.info["idle_since"] = monotonic()
        if self.pool.recycle != -1:
            lifetime = self.pool.recycle * (1 - JITTER * random.random())  # noqa: S311
            record.info["expires"] = monotonic() + lifetime

    def checkout(
        self,
        connection: DBAPIConnection,
        record: ConnectionPoolEntry,
        proxy: PoolProxiedConnection,
    ) -> None:
        """Replace a connection that is too old, or idle for long and dead."""
        if "counted" not in record.info:  # one that failed in a `connect` event never comes here
            record.info["counted"] = True
            self.metrics.opened(self.pool.size(), self.pool.gate.capacity)
        now = monotonic()
        if now > record.info.get("expires", now):
            self.metrics.replaced("recycled")
            raise DisconnectionError("older than pool_recycle")
        if now - record.info["idle_since"] > self.pool.ping_after and not self._alive(connection):
            self.metrics.replaced("dead")
            raise InvalidatePoolError("did not answer a ping")

    def checkin(self, connection: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
        """Free the slot; the one who is let in finds the connection a moment later."""
        record.info["idle_since"] = monotonic()
        slot = cast(Info, record.record_info).pop("slot", None)
        if slot is None:  # a checkout that failed on its way
            return
        self.metrics.returned(perf_counter() - slot.taken)
        slot.release()
        if slot.pool.disposed:
            record.invalidate()

    def close(self, connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        """Count a connection that is gone."""
        if record.info.pop("counted", False):
            self.metrics.closed()

    def invalidate(
        self,
        connection: DBAPIConnection,
        record: ConnectionPoolEntry,
        exception: BaseException | None,
    ) -> None:
        """Count a connection that died in use."""
        if exception is not None and not isinstance(exception, DisconnectionError):
            self.metrics.replaced("died")

    def detach(self, connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        """Free the slot of a connection that left the pool."""
        info = cast(Info, record.record_info)
        slot = info.get("slot")
        if slot is not None and slot.connection is connection:
            del info["slot"]
            self.metrics.detached()
            slot.release()

    def _alive(self, connection: Any) -> bool:
        if self.bounded:
            kept, connection.deadline = connection.deadline, self.ping_timeout
        try:
            return self.dialect.do_ping(connection)
        except self.dialect.loaded_dbapi.Error:
            return False
        finally:
            if self.bounded:
                connection.deadline = kept


def watch(engine: Engine, name: str, settings: Mapping[str, Any]) -> None:
    """Measure the engine's pool under this name and take care of its connections."""
    pool = engine.pool
    care = Care(engine, PoolMetrics(name), settings)
    event.listen(engine, "do_connect", care.do_connect)
    if not isinstance(pool, MeteredPool):  # a command's NullPool
        return
    pool.metrics = care.metrics
    for happening in ("connect", "checkout", "checkin", "close", "invalidate", "detach"):
        event.listen(engine, happening, getattr(care, happening))
