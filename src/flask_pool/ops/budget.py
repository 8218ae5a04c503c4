"""The budget: the connections that this service can open, and those that the server grants."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from math import isinf
from threading import Thread
from time import monotonic
from typing import Any

from flask import Flask, current_app
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError

from ..extension import Pools
from ..options import is_memory
from ..queue_pool import FairQueuePool
from .server import ServerFacts, ask_server, on_same_server

PATIENCE = 0.5  # seconds that a page waits for the server's limits; the next one will have them
VALID = 60.0  # seconds


@dataclass(frozen=True)
class Budget:
    """The most connections that this service opens, against the server's limit."""

    instances: int
    workers: int
    capacity: int
    threads: int
    pools: int
    limit: int | None

    @property
    def needed(self) -> int:
        """Connections when every pool of every worker is full."""
        return self.instances * self.workers * self.pools * self.capacity

    @property
    def busy(self) -> int:
        """Connections in use when every thread has one."""
        return self.needed // self.capacity * min(self.threads, self.capacity)

    @property
    def fits(self) -> bool:
        """Tell whether the server grants them all."""
        return self.limit is None or self.needed <= self.limit

    def __str__(self) -> str:
        factors = [
            f"{self.instances} instances" if self.instances > 1 else "",
            f"{self.workers} worker{'s' * (self.workers > 1)}",
            f"{self.pools} pools" if self.pools > 1 else "",
            str(self.capacity),
        ]
        product = " x ".join(filter(None, factors))
        needed = f"{self.needed} connection{'s' * (self.needed != 1)} ({product})"
        return needed if self.limit is None else f"{needed} of {self.limit} that the server grants"


def budget(pools: Pools, name: str, server: ServerFacts, instances: int = 1) -> Budget:
    """Count what `instances` of this service open on the server of one of its engines."""
    settings, engine = pools.settings, pools.engines[name]
    capacity: float = settings["SQLALCHEMY_POOL_SIZE"] + settings["SQLALCHEMY_MAX_OVERFLOW"]
    if isinstance(engine.pool, FairQueuePool):
        capacity = engine.pool.capacity
    elif is_memory(engine.url):
        capacity = 1
    threads = settings["WEB_THREADS"]
    return Budget(
        instances=instances,
        workers=settings["WEB_CONCURRENCY"],
        capacity=threads if isinf(capacity) else int(capacity),
        threads=threads,
        pools=on_same_server(engine, pools.engines.values()),
        # a pooler has limits of its own, and shares few of the server's connections among many
        limit=server.available if settings["SQLALCHEMY_EXTERNAL_POOLER"] == "none" else None,
    )


def report(app: Flask) -> Iterator[tuple[int, str]]:
    """Yield the budget of each pool as the service starts: logging levels and lines."""
    pools: Pools = app.extensions["flask_pool"]
    for name, engine in pools.engines.items():
        if engine.dialect.name == "sqlite":
            continue
        try:
            with engine.connect() as connection:
                found = ask_server(connection)
        except SQLAlchemyError as error:
            yield logging.WARNING, f"pool {name}: no limits known: {type(error).__name__}"
            continue
        plan = budget(pools, name, found)
        yield (logging.INFO if plan.fits else logging.WARNING), f"pool {name}: {plan}"


# for the page: asked now and then, off the path of any request


class Question(Thread):
    """One question to the server, on a connection of the pool."""

    def __init__(self, engine: Engine, known: ServerFacts | None) -> None:
        super().__init__(daemon=True)
        self.engine, self.server, self.asked = engine, known, monotonic()

    def run(self) -> None:
        """Ask, or leave what was known as it is."""
        with suppress(SQLAlchemyError), self.engine.connect() as connection:
            self.server = ask_server(connection)


def granted(name: str) -> dict[str, Any] | None:
    """Return the budget of a FairQueuePool against the server's limit; None while unknown."""
    pools: Pools = current_app.extensions["flask_pool"]
    engine = pools.engines[name]
    found = _ask(engine, engine.pool)
    if found is None:
        return None
    plan = budget(pools, name, found)
    shown = ("workers", "threads", "needed", "limit", "fits")
    return {key: getattr(plan, key) for key in shown} | {"server": found.name, "text": str(plan)}


def _ask(engine: Engine, pool: Any) -> ServerFacts | None:
    if isinf(pool.capacity):
        return None
    questions: dict[Engine, Question] = current_app.extensions.setdefault("pool_limits", {})
    last = questions.get(engine)
    if last is None or (not last.is_alive() and monotonic() - last.asked > VALID):
        if pool.checkedout() >= pool.capacity:  # requests need the connections more
            return last.server if last else None
        last = questions[engine] = Question(engine, last.server if last else None)
        last.start()
    last.join(PATIENCE)
    return last.server
