"""What the pool does, in OpenTelemetry's names and Prometheus' spelling."""

from __future__ import annotations

import hmac
import os

from flask import Blueprint, Response, abort, current_app, request
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

BUCKETS = (
    0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025,
    0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
)  # fmt: skip
POOL = ["pool_name"]

COUNT = Gauge(
    "db_client_connection_count",
    "Connections that are open, by state (idle or used).",
    [*POOL, "state"],
    multiprocess_mode="livesum",
)
MAX = Gauge(
    "db_client_connection_max",
    "The most connections that may be open.",
    POOL,
    multiprocess_mode="livesum",
)
IDLE_MAX = Gauge(
    "db_client_connection_idle_max",
    "The most idle connections that are kept.",
    POOL,
    multiprocess_mode="livesum",
)
PENDING = Gauge(
    "db_client_connection_pending_requests",
    "Threads that wait for a connection.",
    POOL,
    multiprocess_mode="livesum",
)
TIMEOUTS = Counter("db_client_connection_timeouts", "Waits that ended without a connection.", POOL)
CREATE_TIME = Histogram(
    "db_client_connection_create_time_seconds", "Time to connect.", POOL, buckets=BUCKETS
)
WAIT_TIME = Histogram(
    "db_client_connection_wait_time_seconds",
    "Time from asking for a connection to having it.",
    POOL,
    buckets=BUCKETS,
)
USE_TIME = Histogram(
    "db_client_connection_use_time_seconds",
    "Time from having a connection to giving it back.",
    POOL,
    buckets=BUCKETS,
)
REPLACED = Counter(
    "db_client_connection_replaced",
    "Connections replaced: recycled by age, dead when pinged, or died in use.",
    [*POOL, "reason"],
)
LEAKS = Counter("db_client_connection_leaks", "Connections taken by hand and not given back.", POOL)
RETRIES = Counter(
    "db_client_request_retries", "Safe requests run once more after their connection died."
)
UNAVAILABLE = Counter(
    "db_client_request_unavailable",
    "Requests answered with 503 because of the database.",
    ["reason"],
)

bp = Blueprint("metrics", __name__)


class PoolMetrics:
    """The metrics of one pool."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.idle = COUNT.labels(name, "idle")
        self.in_use = COUNT.labels(name, "used")
        self.pending = PENDING.labels(name)
        self.timeouts = TIMEOUTS.labels(name)
        self.create_time = CREATE_TIME.labels(name)
        self.wait_time = WAIT_TIME.labels(name)
        self.use_time = USE_TIME.labels(name)
        self.leaks = LEAKS.labels(name)

    def taken(self, waited: float) -> None:
        """Count a connection handed out after this wait (seconds)."""
        self.wait_time.observe(waited)
        self.in_use.inc()
        self.idle.dec()

    def returned(self, used: float) -> None:
        """Count a connection that came back after this use (seconds)."""
        self.use_time.observe(used)
        self.in_use.dec()
        self.idle.inc()

    def replaced(self, reason: str) -> None:
        """Count a connection that was recycled, dead or died."""
        REPLACED.labels(self.name, reason).inc()

    def opened(self, size: int, capacity: int) -> None:
        """Count a connection, in a pool of this size and capacity."""
        self.idle.inc()
        IDLE_MAX.labels(self.name).set(size)
        MAX.labels(self.name).set(capacity)

    def forget(self) -> None:
        """Count nothing, in a new process: what was counted is its parent's."""
        for gauge in (self.idle, self.in_use, self.pending):
            gauge.set(0)


@bp.get("/metrics")
def metrics() -> Response:
    """The metrics of all workers."""
    require_operator()
    registry: CollectorRegistry = REGISTRY
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def require_operator() -> None:
    """Hide operators' pages (404) but in debug mode or for the bearer of OPS_TOKEN."""
    token = current_app.config.get("OPS_TOKEN") or ""
    given = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if current_app.debug or (token and hmac.compare_digest(given.encode(), token.encode())):
        return
    abort(404)
