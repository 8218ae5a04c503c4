"""What the pool does, in OpenTelemetry's names and Prometheus' spelling."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from time import sleep
from weakref import WeakSet

from prometheus_client import Counter, Gauge, Histogram

from ..errors import REASONS
from ..observer import Observer
from ..queue_pool import FairQueuePool
from . import leaks

BUCKETS = (
    0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025,
    0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
)  # fmt: skip
POOL = ["pool_name"]
REPLACED_REASONS = ("recycled", "dead", "died")

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
    "Connections replaced: recycled by age, dead when looked at, or died in use.",
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
_all: WeakSet[PoolMetrics] = WeakSet()


class PoolMetrics(Observer):
    """The metrics of one pool, and of those that take its place."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._pools: WeakSet[FairQueuePool] = WeakSet()
        self._shown: tuple[float, ...] = ()
        with alone():
            self._gauges = (
                COUNT.labels(name, "used"), COUNT.labels(name, "idle"), PENDING.labels(name),
                IDLE_MAX.labels(name), MAX.labels(name),
            )  # fmt: skip
            self._timeouts = TIMEOUTS.labels(name)
            self._create_time = CREATE_TIME.labels(name)
            self._wait_time = WAIT_TIME.labels(name)
            self._use_time = USE_TIME.labels(name)
            self._leaks = LEAKS.labels(name)
            # from the start, so that the first one is an increase
            self._replaced = {reason: REPLACED.labels(name, reason) for reason in REPLACED_REASONS}
        _all.add(self)

    def started(self, pool: FairQueuePool) -> None:
        """Tell how many connections this process keeps, and how many it may open."""
        self._note(pool)

    def connected(self, pool: FairQueuePool, seconds: float) -> None:
        """Note how long it took to connect."""
        self._note(pool, (self._create_time.observe, seconds))

    def closed(self, pool: FairQueuePool) -> None:
        """Look what is left."""
        self._note(pool)

    def queued(self, pool: FairQueuePool) -> None:
        """Look who waits."""
        self._note(pool)

    def checked_out(self, pool: FairQueuePool, waited: float) -> None:
        """Note a wait."""
        self._note(pool, (self._wait_time.observe, waited))

    def timed_out(self, pool: FairQueuePool, waited: float) -> None:
        """Count a wait in vain."""
        self._note(pool, (self._timeouts.inc, 1))

    def checked_in(self, pool: FairQueuePool, used: float) -> None:
        """Note a use."""
        self._note(pool, (self._use_time.observe, used))

    def replaced(self, pool: FairQueuePool, reason: str) -> None:
        """Count a connection that was recycled, dead or died."""
        self._note(pool, (self._replaced[reason].inc, 1))

    def leaked(self, pool: FairQueuePool, taker: str) -> None:
        """Count a forgotten connection, and remember who took it."""
        self._note(pool, (self._leaks.inc, 1))
        leaks.note(self.name, taker)

    def _note(self, pool: FairQueuePool, *changes: Change) -> None:
        self._pools.add(pool)
        self._size, self._capacity = pool.size(), pool.capacity
        record(*changes, (self._show, 0))

    def _show(self, _: float) -> None:
        """Read the pools, as late as possible: nothing that follows is missed."""
        used = idle = waiting = 0
        for pool in self._pools:  # one, unless a disposed one is still in use
            used += pool.checkedout()
            idle += pool.open_idle()
            waiting += pool.waiting()
        now = (used, idle, waiting, self._size, self._capacity)
        if now != self._shown:
            before = self._shown or (None,) * len(now)
            for gauge, value, shown in zip(self._gauges, now, before, strict=True):
                if value != shown:
                    gauge.set(value)
            self._shown = now

    def _begin_anew(self) -> None:
        self._shown = ()


class RequestMetrics(Observer):
    """The metrics of requests."""

    def __init__(self) -> None:
        with alone():
            self._unavailable = {reason: UNAVAILABLE.labels(reason) for reason in REASONS}

    def retried(self) -> None:
        """Count a safe request that is run once more."""
        record((RETRIES.inc, 1))

    def unavailable(self, reason: str) -> None:
        """Count a request that the database kept from being served."""
        record((self._unavailable[reason].inc, 1))


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


@contextmanager
def alone() -> Iterator[None]:
    """Use prometheus_client while nobody records; what happens meanwhile is recorded after."""
    with _busy:
        yield
    record()


def _after_fork() -> None:
    """Count nothing yet in a child: what was counted is its parent's."""
    _changes.clear()
    for metrics in _all:
        metrics._begin_anew()
    _busy.release()


if hasattr(os, "register_at_fork"):  # not on Windows
    # fork only while nobody holds prometheus_client's lock: a child could never free it
    os.register_at_fork(
        before=_busy.acquire, after_in_parent=_busy.release, after_in_child=_after_fork
    )
