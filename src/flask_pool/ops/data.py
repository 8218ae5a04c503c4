"""What was counted, by this process or by all workers: for Prometheus, and for the page."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import cache
from itertools import accumulate
from math import isfinite
from pathlib import Path
from time import time
from typing import Any

from flask import current_app

from ..queue_pool import FairQueuePool
from . import counting, metrics, shared
from .budget import granted
from .counting import BOUNDS, BUCKETS, Metric
from .server import place
from .shared import Numbers

TIMES = {
    "wait_time": metrics.WAIT_TIME,
    "use_time": metrics.USE_TIME,
    "create_time": metrics.CREATE_TIME,
}
# what a worker has beyond its size another one's free places do not make good
MOMENTARY = ("checkedout", "checkedin", "overflow", "waiting")
MOST_ROUTES = 50


def by_process() -> dict[str, Numbers]:
    """Return what each process counted; what ended ones did under another name."""
    own = counting.write()  # first: what was told once is kept, even if this process is killed
    return shared.read() | {str(os.getpid()): own}


# for Prometheus


class Collector:
    """What prometheus_client asks for the numbers of all workers."""

    def describe(self) -> list[Any]:
        """Name no metrics: an application may have its own of these names."""
        return []

    def collect(self) -> Iterator[Any]:
        """Yield each metric with its samples."""
        from prometheus_client import core

        kinds = {
            counting.COUNTER: core.CounterMetricFamily,
            counting.GAUGE: core.GaugeMetricFamily,
            counting.GAUGE_MAX: core.GaugeMetricFamily,
            counting.HISTOGRAM: core.HistogramMetricFamily,
        }
        families: dict[str, Any] = {
            metric.name: kinds[metric.kind](metric.name, metric.text, labels=metric.label_names)
            for metric in counting.METRICS
        }
        for key, (first, *counts) in shared.added_up(by_process().values()).items():
            _, name, *labels = json.loads(key)
            if counts:
                buckets = list(zip(BOUNDS, accumulate(counts), strict=True))
                families[name].add_metric(labels, buckets=buckets, sum_value=first)
            else:
                families[name].add_metric(labels, first)
        yield from families.values()


@cache
def register() -> None:
    """Have prometheus_client's own registry show the numbers too."""
    from prometheus_client import REGISTRY

    REGISTRY.register(Collector())


def exposition() -> tuple[bytes, str]:
    """Return the metrics of all workers as Prometheus reads them, and their content type."""
    import prometheus_client
    from prometheus_client.multiprocess import MultiProcessCollector

    register()
    registry = prometheus_client.REGISTRY
    files = os.environ.get(shared.VARIABLE)
    if files and Path(files).is_dir():  # what the application itself counts, in all workers
        registry = prometheus_client.CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        registry.register(Collector())
    return prometheus_client.generate_latest(registry), prometheus_client.CONTENT_TYPE_LATEST


# for the page


def value(numbers: Numbers, metric: Metric, *labels: str) -> float:
    """Return the number of a counter or gauge, 0 if there is none yet."""
    return numbers.get(metric.labels(*labels).key, [0.0])[0]


def snapshot() -> dict[str, Any]:
    """Return every pool, and what became of requests."""
    processes = by_process()
    everything = shared.added_up(processes.values())
    return {
        "time": time(),
        "pid": os.getpid(),
        "all_workers": shared.folder() is not None,
        "bounds": BUCKETS,
        "pools": [
            describe(name, processes, everything)
            for name, engine in current_app.extensions["flask_pool"].engines.items()
            if isinstance(engine.pool, FairQueuePool)
        ],
        "retries": int(value(everything, metrics.RETRIES)),
        "unavailable": {
            reason: int(value(everything, metrics.UNAVAILABLE, reason))
            for reason in metrics.ALL_REASONS
        },
        "queue": {
            "time": histogram(everything, metrics.QUEUE_TIME),
            "refused": int(value(everything, metrics.UNAVAILABLE, metrics.OVERLOADED)),
            "since": value(everything, metrics.REFUSING_SINCE) or None,
        },
    }


def describe(name: str, processes: dict[str, Numbers], everything: Numbers) -> dict[str, Any]:
    """Return one pool: its settings, what it did, and what each worker's part does now."""
    engine = current_app.extensions["flask_pool"].engines[name]
    pool: FairQueuePool = engine.pool
    replicas = current_app.extensions["flask_pool"].replicas
    workers = [
        {"pid": int(pid)} | counts(numbers, name)
        for pid, numbers in sorted(processes.items())
        if value(numbers, metrics.MAX, name)  # else it is none, or has ended
    ]
    return {
        "name": name,
        "database": place(engine.url),
        "size": pool.size(),
        "max_overflow": whole(pool.capacity - pool.size()),
        "timeout": pool.timeout(),
        "recycle": pool.recycle,
        **counts(everything, name),
        **{key: sum(worker[key] for worker in workers) for key in MOMENTARY},
        "replaced": {
            reason: int(value(everything, metrics.REPLACED, name, reason))
            for reason in metrics.REPLACED_REASONS
        },
        "replica": replicas.describe(name) if replicas else None,
        "last_leak": metrics.last_leaks().get(name),
        **{times: histogram(everything, metric, name) for times, metric in TIMES.items()},
        "routes": routes(everything, name),
        "budget": granted(name),
        "workers": workers,
    }


def counts(numbers: Numbers, name: str) -> dict[str, Any]:
    """Return a pool's numbers in one process, or in all."""
    used = value(numbers, metrics.COUNT, name, "used")
    idle = value(numbers, metrics.COUNT, name, "idle")
    found = {
        "checkedout": used,
        "checkedin": idle,
        "overflow": max(0, used + idle - value(numbers, metrics.IDLE_MAX, name)),
        "waiting": value(numbers, metrics.PENDING, name),
        "capacity": value(numbers, metrics.MAX, name),
        "checkouts": histogram(numbers, metrics.WAIT_TIME, name)["counts"][-1],
        "timeouts": value(numbers, metrics.TIMEOUTS, name),
        "leaks": value(numbers, metrics.LEAKS, name),
    }
    return {key: whole(number) for key, number in found.items()}


def whole(value: float) -> int | None:
    """Return a whole number; None for a pool without a limit, which JSON has no number for."""
    return int(value) if isfinite(value) else None


def histogram(numbers: Numbers, metric: Metric, *labels: str) -> dict[str, Any]:
    """Return the sum of all times (seconds), and how many were within each of BUCKETS; then all."""
    series = metric.labels(*labels)
    first, *counts = numbers.get(series.key, [0.0] * len(series.cells))
    return {"sum": first, "counts": list(accumulate(map(int, counts)))}


def routes(numbers: Numbers, name: str) -> list[dict[str, Any]]:
    """Return for how long each route held connections, the longest first."""
    found = by_route(numbers, metrics.HELD, name)
    long = by_route(numbers, metrics.HELD_LONG, name)
    return [
        {"route": route, "held_seconds": held, "held_long": int(long.get(route, 0))}
        for route, held in sorted(found.items(), key=lambda pair: -pair[1])[:MOST_ROUTES]
        if held
    ]


def by_route(numbers: Numbers, metric: Metric, name: str) -> dict[str, float]:
    """Return a counter of a pool by its routes, which other workers may have too."""
    start = json.dumps([metric.kind, metric.name, name])[:-1] + ","
    return {json.loads(key)[3]: row[0] for key, row in numbers.items() if key.startswith(start)}
