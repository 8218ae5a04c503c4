"""The steps of a pool, noted from its events; every state is read off the pool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from threading import Semaphore
from typing import Any, cast

from sqlalchemy import event, text
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from ..gate import Gate
from ..metered import MeteredPool

ORDINALS = (
    "First", "Second", "Third", "Fourth", "Fifth", "Sixth", "Seventh", "Eighth", "Ninth", "Tenth",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One step, and the pool's state right after it."""

    step: int
    action: str
    state: str
    result: str
    in_use: int
    available: int
    connection: int | None = None
    backend: int | None = None  # the server's own number of the connection


class SteppedGate(Gate):
    """A gate whose waiters go on once the return that let them in has been noted."""

    def __init__(self, capacity: int, timeout: float) -> None:
        super().__init__(capacity, timeout)
        self.noted = Semaphore(0)

    def wait(self) -> None:
        """Wait in line, then for the note."""
        super().wait()
        self.noted.acquire()


class Recorder:
    """Notes what happens to the connections of an engine."""

    def __init__(self, engine: Engine, patience: float) -> None:
        self.engine = engine
        self.rows: list[Row] = []
        self.opened = self.closed = 0
        self.returned: Mapping[str, Any] = {}
        self.gate = SteppedGate(self.pool.gate.capacity, patience)
        self.pool.gate = self.gate
        for happening in ("connect", "checkout", "checkin", "close"):
            event.listen(engine, happening, getattr(self, happening))

    @property
    def pool(self) -> MeteredPool:
        """The engine's pool; `dispose` puts a new one in its place."""
        return cast(MeteredPool, self.engine.pool)

    def note(self, action: str, result: str, info: Mapping[str, Any] = {}) -> None:
        """Add a row."""
        used, idle = self.pool.checkedout(), self.pool.checkedin()
        row = (len(self.rows) + 1, action, f"{used} / {idle}", result, used, idle)
        self.rows.append(Row(*row, info.get("number"), info.get("backend")))

    def connect(self, connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        """Number a new connection."""
        self.opened += 1
        record.info.update(number=self.opened, backend=backend(connection), used=False)

    def checkout(
        self,
        connection: DBAPIConnection,
        record: ConnectionPoolEntry,
        proxy: PoolProxiedConnection,
    ) -> None:
        """Note which connection a request got."""
        if not self.rows:  # the warm-up
            return
        number, again = record.info["number"], " (reused)" * record.info["used"]
        record.info["used"] = True
        action = f"Assign connection #{number} to request{again}"
        self.note(action, f"Connection #{number} in use", record.info)

    def checkin(self, connection: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
        """Remember which connection comes back; the pool has it a moment later."""
        self.returned = record.info

    def close(self, connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        """Count a connection that was closed."""
        self.closed += 1

    def start(self, size: int) -> None:
        """Fill the pool."""
        for connection in [self.engine.connect() for _ in range(size)]:
            connection.close()
        connections = f"{self.opened} connection{'s' * (self.opened != 1)}"
        self.note(f"App starts and creates pool with {connections}", "Pool ready")

    def arrive(self, number: int) -> None:
        """Note that a request asks for a connection."""
        self.note(f"{ordinal(number)} request arrives", "Get connection from pool")

    def wait(self, number: int) -> None:
        """Note that a request waits for a connection."""
        result = f"{self.gate.waiting} waiting"
        self.note(f"{ordinal(number)} request waits for a connection", result)

    def serve(self, connection: Connection) -> None:
        """Run a request's query and return its connection."""
        result, info = connection.scalar(text("SELECT 1")), connection.info
        action = f"Execute query using connection #{info['number']}"
        self.note(action, f"Query result: {result}", info)
        connection.close()
        number = self.returned["number"]
        action = f"Return connection #{number} to pool"
        self.note(action, f"Connection #{number} available", self.returned)

    def stop(self) -> None:
        """Close the pool."""
        self.engine.dispose()
        left = self.opened - self.closed
        self.note("App stops, close all connections", f"{left} open" if left else "Pool closed")


def backend(connection: Any) -> int | None:
    """Return the number by which the server knows the connection."""
    if hasattr(connection, "info"):  # psycopg
        return int(connection.info.backend_pid)
    return int(connection.thread_id()) if hasattr(connection, "thread_id") else None  # PyMySQL


def ordinal(number: int) -> str:
    """Return First, Second and so on, in figures after Tenth."""
    if number <= len(ORDINALS):
        return ORDINALS[number - 1]
    last = 0 if number % 100 in (11, 12, 13) else number % 10
    return str(number) + {1: "st", 2: "nd", 3: "rd"}.get(last, "th")
