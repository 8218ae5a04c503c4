"""Requests to this service in turns: one pool, then another, again and again."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median, quantiles
from time import perf_counter
from typing import Any

import click
from flask import Flask, current_app
from sqlalchemy import event
from sqlalchemy.engine import URL, Engine
from sqlalchemy.pool import NullPool, QueuePool
from werkzeug.test import EnvironBuilder, run_wsgi_app

from ...extension import Pools
from ...options import POOL_OPTIONS, engine_options
from ...queue_pool import FairQueuePool
from .. import metrics

UNPOOLED = "unpooled"


@dataclass
class Variant:
    """One way to have connections, and what was measured of it."""

    name: str
    engines: dict[str | None, Engine]  # by bind, as Flask-SQLAlchemy has them
    rates: list[float] = field(default_factory=list)  # of each round
    times: list[float] = field(default_factory=list)  # seconds of each request
    failed: int = 0
    opened: list[object] = field(default_factory=list)

    def __post_init__(self) -> None:
        for engine in self.engines.values():
            event.listen(engine, "connect", lambda connection, record: self.opened.append(record))

    def result(self, base: Variant) -> dict[str, Any]:
        """Return medians; the ratio is that of two rates of the same round."""
        ratios = [own / other for own, other in zip(self.rates, base.rates, strict=True)]
        return {
            "variant": self.name,
            "requests_per_second": round(median(self.rates), 1),
            "lowest": round(min(self.rates), 1),
            "highest": round(max(self.rates), 1),
            "ratio": round(median(ratios), 2),
            "median_ms": round(1000 * median(self.times), 3),
            "percentile_95_ms": round(1000 * quantiles([*self.times, self.times[-1]], n=20)[-1], 3),
            "requests": len(self.times),
            "failed": self.failed,
            "opened": len(self.opened),
        }


def variants(url: URL) -> list[Variant]:
    """Return the kinds of pool; nothing else of the service differs."""
    pools: Pools = current_app.extensions["pool"]
    size = {
        "pool_size": pools.settings["SQLALCHEMY_POOL_SIZE"],
        "max_overflow": pools.settings["SQLALCHEMY_MAX_OVERFLOW"],
    }
    own = engine_options(url, pools.settings, {"poolclass": FairQueuePool})
    kinds: dict[str, dict[str, Any]] = {
        UNPOOLED: {"poolclass": NullPool},
        "pooled": {"poolclass": QueuePool, **size},
        "pooled, pre-ping": {"poolclass": QueuePool, "pool_pre_ping": True, **size},
        "as configured": {key: own[key] for key in own.keys() & {"poolclass", *POOL_OPTIONS}},
    }
    return [Variant(name, engines(pools, url, kind)) for name, kind in kinds.items()]


def engines(pools: Pools, url: URL, kind: dict[str, Any]) -> dict[str | None, Engine]:
    """Make the engines of the service again, with another kind of pool."""
    found: dict[str | None, Engine] = {}
    for name in pools.engines:
        default = name == "default"
        engine = pools.another(name, **kind, **({"url": url} if default else {}))
        if isinstance(engine.pool, FairQueuePool):
            metrics.watch(engine.pool, name)  # as in the service
        found[None if default else name] = engine
    return found


@contextmanager
def serving(variant: Variant) -> Iterator[Flask]:
    """Have the application use this variant's engines."""
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    in_use: dict[str | None, Engine] = app.extensions["sqlalchemy"].engines
    own = dict(in_use)
    in_use.update(variant.engines)
    try:
        yield app
    finally:
        in_use.update(own)


def rounds(
    found: list[Variant], path: str, threads: int, number: int, seconds: float
) -> Iterator[str]:
    """Measure each variant in each round, in turns forwards and backwards; the first warms up."""
    with ThreadPoolExecutor(threads) as executor:
        for turn in range(number + 1):
            for variant in found[:: -1 if turn % 2 else 1]:
                yield variant.name
                measure(variant, path, executor, threads, seconds, warm_up=turn == 0)


def measure(
    variant: Variant, path: str, executor: ThreadPoolExecutor, threads: int, seconds: float,
    warm_up: bool,
) -> None:  # fmt: skip
    """Let every thread send one request after the other for so long."""
    until = perf_counter() + seconds
    with serving(variant) as app:
        found = list(executor.map(lambda _: hammer(app, path, until), range(threads)))
    if warm_up:
        variant.opened.clear()
        return
    variant.rates.append(sum(len(times) / sum(times) for times, _ in found))
    variant.times += [time for times, _ in found for time in times]
    variant.failed += sum(failed for _, failed in found)


def hammer(app: Flask, path: str, until: float) -> tuple[list[float], int]:
    """Send requests; return the time of each (seconds), and how many were not answered with 200."""
    environ = EnvironBuilder(path=path).get_environ()
    times: list[float] = []
    failed = 0
    while not times or perf_counter() < until:
        started = perf_counter()
        status = run_wsgi_app(app, environ, buffered=True)[1]
        times.append(perf_counter() - started)
        failed += not status.startswith("200")
    return times, failed


def check(variant: Variant, path: str) -> None:
    """Refuse to measure errors."""
    environ = EnvironBuilder(path=path).get_environ()
    with serving(variant) as app, ThreadPoolExecutor(1) as thread:  # without its context
        status = thread.submit(run_wsgi_app, app, environ, True).result()[1]
    variant.opened.clear()
    if not status.startswith("200"):
        hint = "is the database there, and migrated (flask db upgrade)?"
        raise click.ClickException(f"GET {path} answers {status}: {hint}")
