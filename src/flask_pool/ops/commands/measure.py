"""Requests to this service in turns: one pool, then another, again and again."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from statistics import median, quantiles
from time import perf_counter
from typing import Any

import click
from flask import Flask, current_app
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.pool import NullPool, QueuePool
from werkzeug.test import EnvironBuilder, run_wsgi_app

from ...extension import Pools


@dataclass
class Variant:
    """One way to have connections, and what was measured of it."""

    name: str
    engine: Engine
    rates: list[float] = field(default_factory=list)  # of each round
    times: list[float] = field(default_factory=list)  # seconds of each request
    failed: int = 0
    opened: list[object] = field(default_factory=list)

    def __post_init__(self) -> None:
        event.listen(self.engine, "connect", lambda connection, record: self.opened.append(record))

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


def variants() -> list[Variant]:
    """Return the kinds of pool; nothing else of the service differs."""
    pools: Pools = current_app.extensions["flask_pool"]
    size = {
        "pool_size": pools.settings["SQLALCHEMY_POOL_SIZE"],
        "max_overflow": pools.settings["SQLALCHEMY_MAX_OVERFLOW"],
    }
    kinds: dict[str, dict[str, Any]] = {
        "unpooled": {"poolclass": NullPool},
        "pooled": {"poolclass": QueuePool, **size},
        "pooled, pre-ping": {"poolclass": QueuePool, "pool_pre_ping": True, **size},
    }
    found = [Variant(kind, pools.another("default", **options)) for kind, options in kinds.items()]
    return [*found, Variant("as configured", pools.engines["default"])]


def rounds(
    found: list[Variant], path: str, threads: int, number: int, seconds: float
) -> Iterator[str]:
    """Measure each variant in each round, in turns forwards and backwards; the first warms up."""
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001
    in_use: dict[str | None, Engine] = app.extensions["sqlalchemy"].engines
    own = in_use[None]
    try:
        with ThreadPoolExecutor(threads) as executor:
            for turn in range(number + 1):
                for variant in found[:: -1 if turn % 2 else 1]:
                    yield variant.name
                    in_use[None] = variant.engine
                    until = perf_counter() + seconds
                    asked = [executor.submit(hammer, app, path, until) for _ in range(threads)]
                    note(variant, [each.result() for each in asked], path, warm_up=turn == 0)
    finally:
        in_use[None] = own


def hammer(app: Flask, path: str, until: float) -> tuple[list[float], list[str]]:
    """Send one request after the other; return times (seconds), and statuses other than 200."""
    environ = EnvironBuilder(path=path).get_environ()
    times: list[float] = []
    failed: list[str] = []
    while not times or perf_counter() < until:
        started = perf_counter()
        status = run_wsgi_app(app, environ, buffered=True)[1]
        times.append(perf_counter() - started)
        if not status.startswith("200"):
            failed.append(status)
    return times, failed


def note(
    variant: Variant, found: list[tuple[list[float], list[str]]], path: str, *, warm_up: bool
) -> None:
    """Add what was measured; refuse to measure errors."""
    failed = [status for _, statuses in found for status in statuses]
    if not warm_up:
        variant.rates.append(sum(len(times) / sum(times) for times, _ in found))
        variant.times += [time for times, _ in found for time in times]
        variant.failed += len(failed)
    elif failed:
        hint = "is the database there, and migrated (flask db upgrade)?"
        raise click.ClickException(f"GET {path} answers {failed[0]}: {hint}")
    else:
        variant.opened.clear()
