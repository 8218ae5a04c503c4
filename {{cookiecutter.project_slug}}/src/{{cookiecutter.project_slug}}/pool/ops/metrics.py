"""What the pool does, in OpenTelemetry's names and Prometheus' spelling."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from functools import cache
from threading import Lock
from time import sleep

from prometheus_client import Counter, Gauge, Histogram

from . import notes

BUCKETS = (
    0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025,
    0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
)  # fmt: skip
POOL = ["pool_name"]
REPLACED_REASONS = ("recycled", "dead", "died")
UNAVAILABLE_REASONS = ("exhausted", "unavailable")

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

Change = tuple[Callable[[float], object], float]

_changes: deque[Change] = deque()
_busy = Lock()


class PoolMetrics:
    """The metrics of one pool."""

    def __init__(self, name: str) -> None:
        _guard_forks()
        self.name = name
        self.idle = COUNT.labels(name, "idle")
        self.in_use = COUNT.labels(name, "used")
        self.pending = PENDING.labels(name)
        self.timeouts = TIMEOUTS.labels(name)
        self.create_time = CREATE_TIME.labels(name)
        self.wait_time = WAIT_TIME.labels(name)
        self.use_time = USE_TIME.labels(name)
        self.leaks = LEAKS.labels(name)
        # from the start, so that the first one is an increase
        self.replaced_by = {reason: REPLACED.labels(name, reason) for reason in REPLACED_REASONS}
        for reason in UNAVAILABLE_REASONS:
            UNAVAILABLE.labels(reason)
        # told of each wait, in the thread that waited
        self.waited: Callable[[float], None] | None = None

    def limits(self, size: int, capacity: int) -> None:
        """Tell how many connections this worker keeps, and how many it may open."""
        record((IDLE_MAX.labels(self.name).set, size), (MAX.labels(self.name).set, capacity))

    def created(self, seconds: float) -> None:
        """Note how long it took to connect."""
        record((self.create_time.observe, seconds))

    def opened(self, size: int, capacity: int) -> None:
        """Count a connection, in a pool of this size and capacity."""
        record((self.idle.inc, 1))
        self.limits(size, capacity)

    def closed(self) -> None:
        """Count an idle connection that is gone."""
        record((self.idle.dec, 1))

    def detached(self) -> None:
        """Count a connection in use that left the pool."""
        record((self.in_use.dec, 1))

    def taken(self, seconds: float) -> None:
        """Count a connection handed out after this wait."""
        record((self.wait_time.observe, seconds), (self.in_use.inc, 1), (self.idle.dec, 1))
        if self.waited:
            self.waited(seconds)

    def returned(self, seconds: float) -> None:
        """Count a connection that came back after this use."""
        record((self.use_time.observe, seconds), (self.in_use.dec, 1), (self.idle.inc, 1))

    def queued(self, change: int) -> None:
        """Count a thread that begins (1) or ends (-1) to wait."""
        record((self.pending.inc, change))

    def timed_out(self, seconds: float) -> None:
        """Count a wait that ended without a connection."""
        record((self.timeouts.inc, 1))
        if self.waited:
            self.waited(seconds)

    def replaced(self, reason: str) -> None:
        """Count a connection that was recycled, dead or died."""
        record((self.replaced_by[reason].inc, 1))

    def leaked(self, taker: str) -> None:
        """Count a connection that was taken by hand at this line and not given back."""
        record((self.leaks.inc, 1))
        notes.leave(self.name, taker)

    def forget(self) -> None:
        """Count nothing, in a new process: what was counted is its parent's."""
        _changes.clear()
        record(*((gauge.set, 0) for gauge in (self.idle, self.in_use, self.pending)))


def record(*changes: Change) -> None:
    """Apply changes; a thread that finds another one at it leaves them to that one.

    prometheus_client's own lock is not reentrant: were it waited for, the garbage collector
    could block a thread for good by returning a connection while the thread holds it.
    """
    _changes.extend(changes)
    while _changes and _busy.acquire(blocking=False):
        try:
            # no more than there are now: others add as fast as one thread can take away
            for _ in range(len(_changes)):
                change, amount = _changes.popleft()
                change(amount)
        finally:
            _busy.release()
        if _changes:
            sleep(0)  # let somebody else be the next


def retried() -> None:
    """Count a safe request that is run once more."""
    record((RETRIES.inc, 1))


def unavailable(reason: str) -> None:
    """Count a request that the database kept from being served."""
    record((UNAVAILABLE.labels(reason).inc, 1))


@cache
def _guard_forks() -> None:
    """Fork only while nobody holds prometheus_client's lock: a child could never free it."""
    os.register_at_fork(
        before=_busy.acquire, after_in_parent=_busy.release, after_in_child=_busy.release
    )
