"""The pool, live: a page for people and its data."""

from __future__ import annotations

import os
from time import time
from typing import Any

from flask import Blueprint, Response, current_app, jsonify, render_template
from sqlalchemy.engine import URL

from . import notes, scrape
from .granted import granted
from .metered import MeteredPool
from .metrics import BUCKETS, REPLACED_REASONS, UNAVAILABLE_REASONS
from .scrape import Samples, require_operator

TIMES = ("wait_time", "use_time", "create_time")

bp = Blueprint("page", __name__)


@bp.get("/pool")
def show() -> str:
    """The page; its script asks for the data."""
    require_operator()
    return render_template("pool.html")


@bp.get("/pool.json")
def data() -> Response:
    """What the page shows; every count is momentary."""
    require_operator()
    response = jsonify(snapshot())
    response.headers["Cache-Control"] = "no-store"
    return response


def snapshot() -> dict[str, Any]:
    """Return the pools of all workers, as far as this process can see them."""
    pools = {
        name: pool
        for name, engine in current_app.extensions["pool"].engines.items()
        if isinstance(pool := engine.pool, MeteredPool)
    }
    for pool in pools.values():
        pool.metrics.limits(pool.size(), pool.gate.capacity)
    processes = scrape.by_process()
    everything = Samples()
    for samples in processes.values():
        for key, value in samples.items():
            everything[key] += value
    return {
        "time": time(),
        "pid": os.getpid(),
        "all_workers": notes.folder() is not None,
        "bounds": BUCKETS,
        "pools": [describe(name, pool, processes, everything) for name, pool in pools.items()],
        "retries": int(everything.value("db_client_request_retries_total")),
        "unavailable": {
            reason: int(everything.value("db_client_request_unavailable_total", reason=reason))
            for reason in UNAVAILABLE_REASONS
        },
    }


def describe(
    name: str, pool: MeteredPool, processes: dict[int, Samples], everything: Samples
) -> dict[str, Any]:
    """Return one pool: its settings, what it did, and what each worker's part does now."""
    engine = current_app.extensions["pool"].engines[name]
    workers = [
        {"pid": pid} | now
        for pid, samples in sorted(processes.items())
        if (now := counts(samples, name))["capacity"]  # else it is no worker, or has ended
    ]
    momentary = ("checkedout", "checkedin", "overflow", "waiting", "capacity")
    return {
        "name": name,
        "database": place(engine.url),
        "size": pool.size(),
        "max_overflow": pool.gate.capacity - pool.size(),
        "timeout": pool.gate.timeout,
        "recycle": pool.recycle,
        **counts(everything, name),
        # what a worker has beyond its size another one's free places do not make good
        **{key: sum(worker[key] for worker in workers) for key in momentary},
        "replaced": {
            reason: int(
                everything.value(
                    "db_client_connection_replaced_total", pool_name=name, reason=reason
                )
            )
            for reason in REPLACED_REASONS
        },
        "last_leak": notes.last_leak(name),
        **{times: histogram(everything, name, times) for times in TIMES},
        "budget": granted(engine),
        "workers": workers,
    }


def counts(samples: Samples, name: str) -> dict[str, int]:
    """Return a pool's numbers in one process, or in all."""

    def value(metric: str, **labels: str) -> int:
        return int(samples.value(f"db_client_connection_{metric}", pool_name=name, **labels))

    # one of the two is counted a moment before the other
    used, idle = (max(0, value("count", state=state)) for state in ("used", "idle"))
    return {
        "checkedout": used,
        "checkedin": idle,
        "overflow": max(0, used + idle - value("idle_max")),
        "waiting": value("pending_requests"),
        "capacity": value("max"),
        "checkouts": value("wait_time_seconds_count"),
        "timeouts": value("timeouts_total"),
        "leaks": value("leaks_total"),
    }


def histogram(samples: Samples, name: str, times: str) -> dict[str, Any]:
    """Return the sum of all times (seconds), and how many were within each of BUCKETS; then all."""
    metric = f"db_client_connection_{times}_seconds"
    within = [*map(str, map(float, BUCKETS)), "+Inf"]
    return {
        "sum": samples.value(f"{metric}_sum", pool_name=name),
        "counts": [int(samples.value(f"{metric}_bucket", pool_name=name, le=le)) for le in within],
    }


def place(url: URL) -> str:
    """Return where the database is, without user, password and options."""
    return URL.create(
        url.get_backend_name(), host=url.host, port=url.port, database=url.database
    ).render_as_string()
