"""Requests to this service in turns: one pool, then another, again and again."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import import_module
from statistics import median, quantiles
from time import perf_counter
from typing import Any

import click
from flask import Flask, current_app
from sqlalchemy import event
from sqlalchemy.engine import URL, Engine
from sqlalchemy.pool import NullPool, QueuePool
from werkzeug.test import EnvironBuilder, run_wsgi_app

from ..metered import MeteredPool

UNPOOLED = "unpooled"


@dataclass
class Variant:
    """One way to have connections, and what was measured of it."""

    name: str
    app: Flask
    rates: list[float] = field(default_factory=list)  # of each round
    times: list[float] = field(default_factory=list)  # seconds of each request
    failed: int = 0
    opened: int = 0

    @property
    def engine(self) -> Engine:
        """The engine of the service."""
        engine: Engine = self.app.extensions["pool"].engines["default"]
        return engine

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
            "opened": self.opened,
        }


def variants(url: URL) -> list[Variant]:
    """Make this service once for each kind of pool; nothing else differs."""
    settings = current_app.config
    size = {
        "pool_size": settings["SQLALCHEMY_POOL_SIZE"],
        "max_overflow": settings["SQLALCHEMY_MAX_OVERFLOW"],
    }
    own = {
        "max_wait": settings["SQLALCHEMY_POOL_TIMEOUT"],
        "max_waiting": settings.get("SQLALCHEMY_MAX_WAITING"),
        "pool_recycle": settings["SQLALCHEMY_POOL_RECYCLE"],
        "ping_after": settings["SQLALCHEMY_POOL_PING_AFTER"],
    }
    kinds: dict[str, dict[str, Any]] = {
        UNPOOLED: {"poolclass": NullPool},
        "pooled": {"poolclass": QueuePool, **size},
        "pooled, pre-ping": {"poolclass": QueuePool, "pool_pre_ping": True, **size},
        "as configured": {"poolclass": MeteredPool, **size, **own},
    }
    return [Variant(name, again(url, options)) for name, options in kinds.items()]


def again(url: URL, options: dict[str, Any]) -> Flask:
    """Make this service again with another engine."""
    settings = {
        name: value
        for name, value in current_app.config.items()
        if name.startswith("SQLALCHEMY_") or name in ("SECRET_KEY", "TESTING")
    }
    binds = settings.get("SQLALCHEMY_BINDS") or {}
    settings |= {
        "SQLALCHEMY_DATABASE_URI": url,
        "SQLALCHEMY_ENGINE_OPTIONS": dict(options),
        "SQLALCHEMY_BINDS": {key: {"url": bind["url"], **options} for key, bind in binds.items()},
        "SERVER_TIMING": False,
    }
    app: Flask = import_module(current_app.import_name).create_app(settings)
    return app


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
    opened: list[object] = []
    note = lambda connection, record: opened.append(record)  # noqa: E731
    event.listen(variant.engine, "connect", note)
    until = perf_counter() + seconds
    found = list(executor.map(lambda _: hammer(variant.app, path, until), range(threads)))
    event.remove(variant.engine, "connect", note)
    if warm_up:
        return
    variant.rates.append(sum(len(times) / sum(times) for times, _ in found))
    variant.times += [time for times, _ in found for time in times]
    variant.failed += sum(failed for _, failed in found)
    variant.opened += len(opened)


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


def check(app: Flask, path: str) -> None:
    """Refuse to measure errors."""
    with ThreadPoolExecutor(1) as thread:  # where no application context is pushed
        environ = EnvironBuilder(path=path).get_environ()
        status = thread.submit(run_wsgi_app, app, environ, True).result()[1]
    if not status.startswith("200"):
        hint = "is the database there, and migrated (flask db upgrade)?"
        raise click.ClickException(f"GET {path} answers {status}: {hint}")
