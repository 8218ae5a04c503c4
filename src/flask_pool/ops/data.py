"""What was counted, by this process or by all workers: for Prometheus, and for the page."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from math import isfinite
from time import time
from types import SimpleNamespace
from typing import Any

from flask import current_app
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector

from ..errors import REASONS
from ..queue_pool import FairQueuePool
from . import shared
from .budget import granted
from .metrics import BUCKETS, OVERLOADED, PREFIX, REPLACED_REASONS, alone, catch_up, last_leaks
from .server import place

TIMES = ("wait_time", "use_time", "create_time")
# what a worker has beyond its size another one's free places do not make good
MOMENTARY = ("checkedout", "checkedin", "overflow", "waiting")

merge: Any = MultiProcessCollector.merge


class Samples(defaultdict[tuple[str, frozenset[tuple[str, str]]], float]):
    """What one process counted, or several."""

    def __init__(self, metrics: Iterable[Metric] = ()) -> None:
        super().__init__(float)
        for metric in metrics:
            for sample in metric.samples:
                self[sample.name, frozenset(sample.labels.items())] += sample.value

    def value(self, name: str, **labels: str) -> float:
        """Return one sample, 0 if there is none yet."""
        return self.get((name, frozenset(labels.items())), 0.0)


def exposition() -> bytes:
    """Return the metrics of all workers as Prometheus reads them."""
    registry: Any = REGISTRY
    if are_shared():
        catch_up()
        with shared.files() as files:
            merged = merge([file for each in files.values() for file in each])
        registry = SimpleNamespace(collect=lambda: merged)
    with alone():
        return generate_latest(registry)


def by_process() -> dict[str, Samples]:
    """Return what each process counted; what ended ones did under another name."""
    if are_shared():
        catch_up()
        with shared.files() as files:
            return {process: Samples(merge(names)) for process, names in files.items()}
    with alone():
        return {str(os.getpid()): Samples(REGISTRY.collect())}


def are_shared() -> bool:
    """Tell whether workers share metrics, and their folder is still there."""
    folder = shared.folder()
    return folder is not None and folder.is_dir()


def snapshot() -> dict[str, Any]:
    """Return every pool, and what became of requests."""
    processes = by_process()
    everything = Samples()
    for samples in processes.values():
        for key, value in samples.items():
            everything[key] += value
    return {
        "time": time(),
        "pid": os.getpid(),
        "all_workers": are_shared(),
        "bounds": BUCKETS,
        "pools": [
            describe(name, processes, everything)
            for name, engine in current_app.extensions["pool"].engines.items()
            if isinstance(engine.pool, FairQueuePool)
        ],
        "retries": int(everything.value("db_client_request_retries_total")),
        "unavailable": {
            reason: int(everything.value("db_client_request_unavailable_total", reason=reason))
            for reason in dict.fromkeys((*REASONS, OVERLOADED))
        },
        "queue": queue(processes, everything),
    }


def queue(processes: dict[str, Samples], everything: Samples) -> dict[str, Any]:
    """Return what happens in front of the application: waits, and what was refused."""
    since = max(s.value("request_queue_refusing_since_seconds") for s in processes.values())
    refused = everything.value("db_client_request_unavailable_total", reason=OVERLOADED)
    return {
        "time": spread(everything, "request_queue_time_seconds"),
        "refused": int(refused),
        "since": since or None,
    }


def describe(name: str, processes: dict[str, Samples], everything: Samples) -> dict[str, Any]:
    """Return one pool: its settings, what it did, and what each worker's part does now."""
    engine = current_app.extensions["pool"].engines[name]
    pool: FairQueuePool = engine.pool
    replicas = current_app.extensions["pool"].replicas
    replaced = f"{PREFIX}replaced_total"
    workers = [
        {"pid": int(pid)} | counts(samples, name)
        for pid, samples in sorted(processes.items())
        if samples.value(f"{PREFIX}max", pool_name=name)  # else it is none, or has ended
    ]
    return {
        "name": name,
        "database": place(engine.url),
        "size": pool.size(),
        "max_overflow": number(pool.capacity - pool.size()),
        "timeout": pool.timeout(),
        "recycle": pool.recycle,
        **counts(everything, name),
        **{key: sum(worker[key] for worker in workers) for key in MOMENTARY},
        "replaced": {
            reason: int(everything.value(replaced, pool_name=name, reason=reason))
            for reason in REPLACED_REASONS
        },
        "replica": replicas.describe(name) if replicas else None,
        "last_leak": last_leaks().get(name),
        **{times: histogram(everything, name, times) for times in TIMES},
        "budget": granted(name),
        "workers": workers,
    }


def counts(samples: Samples, name: str) -> dict[str, Any]:
    """Return a pool's numbers in one process, or in all."""

    def value(metric: str, **labels: str) -> float:
        return samples.value(PREFIX + metric, pool_name=name, **labels)

    used, idle = value("count", state="used"), value("count", state="idle")
    found = {
        "checkedout": used,
        "checkedin": idle,
        "overflow": max(0, used + idle - value("idle_max")),
        "waiting": value("pending_requests"),
        "capacity": value("max"),
        "checkouts": value("wait_time_seconds_count"),
        "timeouts": value("timeouts_total"),
        "leaks": value("leaks_total"),
    }
    return {key: number(value) for key, value in found.items()}


def number(value: float) -> int | None:
    """Return a whole number; None for a pool without a limit, which JSON has no number for."""
    return int(value) if isfinite(value) else None


def histogram(samples: Samples, name: str, times: str) -> dict[str, Any]:
    """Return the sum of all times (seconds), and how many were within each of BUCKETS; then all."""
    return spread(samples, f"{PREFIX}{times}_seconds", pool_name=name)


def spread(samples: Samples, metric: str, **labels: str) -> dict[str, Any]:
    """Return a histogram: the sum of its values, and how many are within each bound; then all."""
    within = [*map(str, map(float, BUCKETS)), "+Inf"]
    return {
        "sum": samples.value(f"{metric}_sum", **labels),
        "counts": [int(samples.value(f"{metric}_bucket", le=le, **labels)) for le in within],
    }
