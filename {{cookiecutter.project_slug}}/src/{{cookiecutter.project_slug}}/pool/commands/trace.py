"""`flask pool trace`: what a pool does for one request after another."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from threading import Semaphore
from time import sleep
from typing import Any

import click
from flask import current_app
from flask.cli import with_appcontext
from sqlalchemy import create_engine, event, text
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from .. import lifecycle, metered
from ..gate import Gate
from ..options import engine_options
from . import Command, report

ORDINALS = "First Second Third Fourth Fifth Sixth Seventh Eighth Ninth Tenth".split()
COLUMNS = ("Step", "Action", "Pool state", "Result")
PATIENCE = 60.0  # seconds


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

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity, PATIENCE)
        self.noted = Semaphore(0)

    def wait(self) -> None:
        """Wait in line, then for the note."""
        super().wait()
        self.noted.acquire()


class Trace:
    """Notes what a pool's events tell; every state is read off the pool."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.rows: list[Row] = []
        self.opened = self.closed = 0
        self.last: Mapping[str, Any] = {}  # the connection of the latest event
        pool = engine.pool
        assert isinstance(pool, metered.MeteredPool)  # noqa: S101
        pool.gate = self.gate = SteppedGate(pool.gate.capacity)
        for happening in ("connect", "checkout", "checkin", "close"):
            event.listen(engine, happening, getattr(self, happening))

    def note(self, action: str, result: str, info: Mapping[str, Any] = {}) -> None:
        """Add a row with the pool's state."""
        used, idle = self.engine.pool.checkedout(), self.engine.pool.checkedin()  # type: ignore[attr-defined]
        number, backend = info.get("number"), info.get("backend")
        step = len(self.rows) + 1
        self.rows.append(
            Row(step, action, f"{used} / {idle}", result, used, idle, number, backend)
        )

    def connect(self, connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        """Number a new connection."""
        self.opened += 1
        record.info.update(number=self.opened, backend=backend(connection), reused=False)

    def checkout(
        self,
        connection: DBAPIConnection,
        record: ConnectionPoolEntry,
        proxy: PoolProxiedConnection,
    ) -> None:
        """Note which connection a request got."""
        if not self.rows:  # the warm-up
            return
        number, again = record.info["number"], " (reused)" if record.info["reused"] else ""
        record.info["reused"] = True
        action = f"Assign connection #{number} to request{again}"
        self.note(action, f"Connection #{number} in use", record.info)

    def checkin(self, connection: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
        """Remember which connection comes back; the pool has it a moment later."""
        self.last = record.info

    def close(self, connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        """Count a connection that was closed."""
        self.closed += 1

    def start(self, size: int) -> None:
        """Fill the pool."""
        opened = [self.engine.connect() for _ in range(size)]
        for connection in opened:
            connection.close()
        self.note(f"App starts and creates pool with {self.opened} connections", "Pool ready")

    def arrive(self, number: int) -> None:
        """Note that a request asks for a connection."""
        self.note(f"{ordinal(number)} request arrives", "Get connection from pool")

    def serve(self, connection: Connection) -> None:
        """Run the query and return the connection."""
        result, info = connection.scalar(text("SELECT 1")), connection.info
        number = info["number"]
        self.note(f"Execute query using connection #{number}", f"Query result: {result}", info)
        connection.close()
        number = self.last["number"]
        action = f"Return connection #{number} to pool"
        self.note(action, f"Connection #{number} available", self.last)

    def stop(self) -> None:
        """Close the pool."""
        self.engine.dispose()
        left = self.opened - self.closed
        self.note("App stops, close all connections", f"{left} open" if left else "Pool closed")

    def one_after_another(self, requests: int) -> None:
        """Serve a request before the next one arrives."""
        for number in range(1, requests + 1):
            self.arrive(number)
            self.serve(self.engine.connect())

    def at_once(self, requests: int) -> None:
        """Let all requests arrive before the first one is served."""
        served: deque[Future[Connection]] = deque()
        waiting: deque[Future[Connection]] = deque()
        with ThreadPoolExecutor(requests) as threads, self.let_go(served, requests):
            for number in range(1, requests + 1):
                self.arrive(number)
                asked = threads.submit(self.engine.connect)
                while not asked.done() and self.gate.waiting == len(waiting):
                    sleep(0.001)
                if not asked.done():
                    self.note(f"{ordinal(number)} request waits", f"{self.gate.waiting} waiting")
                (served if asked.done() else waiting).append(asked)
            while served:
                self.serve(served.popleft().result())
                self.gate.noted.release()
                if waiting:
                    waiting[0].exception()  # until it has a connection
                    served.append(waiting.popleft())

    @contextmanager
    def let_go(self, served: deque[Future[Connection]], requests: int) -> Iterator[None]:
        """Give back what is taken when something fails, so that nobody waits for it."""
        try:
            yield
        except BaseException:
            self.gate.noted.release(requests)
            for asked in served:
                if not asked.exception():
                    asked.result().close()
            raise


@click.command("trace", cls=Command)
@click.option("--pool-size", type=click.IntRange(1, 1000), default=2, show_default=True)
@click.option("--requests", type=click.IntRange(1, 1000), default=3, show_default=True)
@click.option("--concurrent", is_flag=True, help="All requests arrive before one is served.")
@report.format_option("table", "json", "markdown")
@with_appcontext
def command(pool_size: int, requests: int, concurrent: bool, form: str) -> None:
    """Show, step by step, what a pool does for requests.

    A new pool is opened on this service's database and warmed up, each request runs SELECT 1,
    and the pool is closed. State is connections in use / available, read off the pool.

    \b
    flask pool trace --pool-size 1 --concurrent
    """
    rows = run(pool_size, requests, concurrent)
    cells = [(row.step, row.action, row.state, row.result) for row in rows]
    if form == "json":
        report.dump([asdict(row) for row in rows])
    elif form == "markdown":
        report.markdown(COLUMNS, cells)
    else:
        report.show(COLUMNS, cells)


def run(size: int, requests: int, concurrent: bool = False) -> list[Row]:
    """Serve requests from a new pool of this size, and return each step."""
    engine = new_engine(size)
    try:
        trace = Trace(engine)
        trace.start(size)
        (trace.at_once if concurrent else trace.one_after_another)(requests)
        trace.stop()
    finally:
        engine.dispose()
    return trace.rows


def new_engine(size: int) -> Engine:
    """Return an engine like the service's own, with a pool of this size and no overflow."""
    settings = current_app.config
    own: Engine = current_app.extensions["pool"].engines["default"]
    options = engine_options(own.url, settings) | {
        "poolclass": metered.MeteredPool,
        "pool_size": size,
        "max_overflow": 0,
        "max_wait": PATIENCE,
    }
    engine = create_engine(**options)
    metered.watch(engine, "trace", settings)
    lifecycle.watch(engine)
    return engine


def backend(connection: Any) -> int | None:
    """Return the number by which the server knows the connection."""
    if hasattr(connection, "info"):  # psycopg
        return int(connection.info.backend_pid)
    return int(connection.thread_id()) if hasattr(connection, "thread_id") else None  # PyMySQL


def ordinal(number: int) -> str:
    """Return First, Second, ..., and 11th, 21st and so on in figures."""
    if number <= len(ORDINALS):
        return ORDINALS[number - 1]
    last = 0 if 10 < number % 100 < 14 else number % 10
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(last, 'th') }"
