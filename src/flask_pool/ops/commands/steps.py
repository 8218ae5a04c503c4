"""The steps of a pool, noted from its events; every state is read off the pool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import event, text
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import ConnectionPoolEntry

from ...queue_pool import FairQueuePool

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
    connection: int | None
    backend: int | None  # the server's own number of the connection


class SteppedPool(FairQueuePool):
    """A pool that can stop between a return and what the return is for."""

    stopped = False

    def _serve(self) -> None:
        if not self.stopped:
            super()._serve()

    def go_on(self) -> None:
        """Give what there is to who waits."""
        self.stopped = False
        with self._lock:
            self._serve()


class Recorder:
    """Notes what happens to the connections of an engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.rows: list[Row] = []
        self.opened = self.closed = 0
        self.returned: Mapping[str, Any] = {}
        for happening in ("connect", "checkout", "checkin", "close"):
            event.listen(engine, happening, getattr(self, f"_{happening}"))

    @property
    def pool(self) -> SteppedPool:
        """The engine's pool; `dispose` puts a new one in its place."""
        return cast(SteppedPool, self.engine.pool)

    def _connect(self, connection: Any, record: ConnectionPoolEntry) -> None:
        self.opened += 1
        backend = getattr(getattr(connection, "info", None), "backend_pid", None)  # psycopg
        if hasattr(connection, "thread_id"):  # PyMySQL; SQLite has no server
            backend = connection.thread_id()
        record.info.update(number=self.opened, backend=backend, used=False)

    def _checkout(self, connection: Any, record: ConnectionPoolEntry, proxy: Any) -> None:
        if not self.rows:  # the warm-up
            return
        number, again = record.info["number"], " (reused)" * record.info["used"]
        record.info["used"] = True
        action = f"Assign connection #{number} to request{again}"
        self.note(action, f"Connection #{number} in use", record.info)

    def _checkin(self, connection: Any, record: ConnectionPoolEntry) -> None:
        self.returned = record.info  # the pool has it a moment later

    def _close(self, connection: Any, record: ConnectionPoolEntry) -> None:
        self.closed += 1

    def note(self, action: str, result: str, info: Mapping[str, Any] = {}) -> None:
        """Add a row."""
        used, idle = self.pool.checkedout(), self.pool.checkedin()
        step, who = len(self.rows) + 1, (info.get("number"), info.get("backend"))
        self.rows.append(Row(step, action, f"{used} / {idle}", result, used, idle, *who))

    def start(self, size: int) -> None:
        """Fill the pool."""
        for connection in [self.engine.connect() for _ in range(size)]:
            connection.close()
        connections = f"{self.opened} connection{'s' * (self.opened != 1)}"
        self.note(f"App starts and creates pool with {connections}", "Pool ready")

    def serve(self, connection: Connection) -> None:
        """Run a request's query and return its connection."""
        result, info = connection.scalar(text("SELECT 1")), connection.info
        action = f"Execute query using connection #{info['number']}"
        self.note(action, f"Query result: {result}", info)
        self.pool.stopped = True  # until the return is noted
        connection.close()
        number = self.returned["number"]
        action = f"Return connection #{number} to pool"
        self.note(action, f"Connection #{number} available", self.returned)
        self.pool.go_on()

    def stop(self) -> None:
        """Close the pool."""
        self.engine.dispose()
        left = self.opened - self.closed
        self.note("App stops, close all connections", f"{left} open" if left else "Pool closed")


def name_of(number: int) -> str:
    """Return what a request is called: First request and so on, with figures after the tenth."""
    return f"{ORDINALS[number - 1]} request" if number <= len(ORDINALS) else f"Request {number}"
