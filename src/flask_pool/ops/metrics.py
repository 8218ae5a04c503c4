"""What the pool does, in OpenTelemetry's names and Prometheus' spelling."""

from __future__ import annotations

import json
from contextlib import suppress
from time import time
from typing import Any
from weakref import WeakSet, WeakValueDictionary

from ..errors import REASONS
from ..observer import Observer
from ..queue import RULE
from ..queue_pool import FairQueuePool
from . import counting, shared
from .counting import COUNTER, GAUGE, GAUGE_MAX, HISTOGRAM, Metric

PREFIX = "db_client_connection_"
POOL = "pool_name"
OVERLOADED = "overloaded"  # the reason of what is refused in front of the application
REPLACED_REASONS = ("recycled", "dead", "died", "leaked")
ALL_REASONS = tuple(dict.fromkeys((*REASONS, OVERLOADED)))
NO_ROUTE = "-"  # commands, jobs, threads

COUNT = Metric(GAUGE, f"{PREFIX}count", "Connections that are open, idle or used.", POOL, "state")
MAX = Metric(GAUGE, f"{PREFIX}max", "The most connections that may be open.", POOL)
IDLE_MAX = Metric(GAUGE, f"{PREFIX}idle_max", "The most idle connections that are kept.", POOL)
PENDING = Metric(GAUGE, f"{PREFIX}pending_requests", "Threads that wait for a connection.", POOL)
TIMEOUTS = Metric(COUNTER, f"{PREFIX}timeouts", "Waits that ended without a connection.", POOL)
CREATE_TIME = Metric(HISTOGRAM, f"{PREFIX}create_time_seconds", "Time to connect.", POOL)
WAIT_TIME = Metric(
    HISTOGRAM, f"{PREFIX}wait_time_seconds", "Time from asking for a connection to having it.", POOL
)
USE_TIME = Metric(HISTOGRAM, f"{PREFIX}use_time_seconds", "Time from checkout to checkin.", POOL)
HELD = Metric(
    COUNTER, f"{PREFIX}held_seconds", "Time that requests of a route held connections.",
    POOL, "route",
)  # fmt: skip
HELD_LONG = Metric(
    COUNTER, f"{PREFIX}held_long", "Connections that were out for longer than POOL_HELD_WARNING.",
    POOL, "route",
)  # fmt: skip
REPLACED = Metric(
    COUNTER, f"{PREFIX}replaced",
    "Recycled by age, dead when looked at, died in use, or leaked and reclaimed.", POOL, "reason",
)  # fmt: skip
LEAKS = Metric(COUNTER, f"{PREFIX}leaks", "Connections taken by hand and not given back.", POOL)
RETRIES = Metric(
    COUNTER, "db_client_request_retries", "Reads run once more after their connection died."
)
UNAVAILABLE = Metric(
    COUNTER, "db_client_request_unavailable", "Requests answered with 503 for the database.",
    "reason",
)  # fmt: skip
QUEUE_TIME = Metric(
    HISTOGRAM, "request_queue_time_seconds", "Time from a request's arrival to the application."
)
REFUSING_SINCE = Metric(
    GAUGE_MAX, "request_queue_refusing_since_seconds",
    "When a worker began to refuse requests, 0 if not.",
)  # fmt: skip

# by the names of pools; where several applications have one of a name, the last one shows its own
_all: WeakValueDictionary[str, _PoolMetrics] = WeakValueDictionary()


def watch(pool: FairQueuePool, name: str) -> None:
    """Count what this pool does, and those that take its place."""
    pool.observers.append(_PoolMetrics(pool, name))


def watch_requests(observers: list[Observer]) -> None:
    """Count what becomes of requests."""
    observers.append(_RequestMetrics())


class _PoolMetrics(Observer):
    def __init__(self, pool: FairQueuePool, name: str) -> None:
        self._name, self._latest = name, pool
        # one, unless a disposed one is still in use
        self._pools = WeakSet([pool])
        self._gauges = (
            COUNT.labels(name, "used"), COUNT.labels(name, "idle"), PENDING.labels(name),
            IDLE_MAX.labels(name), MAX.labels(name),
        )  # fmt: skip
        self._timeouts, self._leaks = TIMEOUTS.labels(name), LEAKS.labels(name)
        self._create_time = CREATE_TIME.labels(name)
        self._wait_time, self._use_time = WAIT_TIME.labels(name), USE_TIME.labels(name)
        # from the start, so that the first one is an increase
        self._replaced = {reason: REPLACED.labels(name, reason) for reason in REPLACED_REASONS}
        self._held = {"": HELD.labels(name, NO_ROUTE)}
        HELD_LONG.labels(name, NO_ROUTE)
        self._exhausted = UNAVAILABLE.labels("exhausted")
        _all[name] = self

    def started(self, pool: FairQueuePool) -> None:
        self._note(pool)

    queued = closed = started

    def connected(self, pool: FairQueuePool, seconds: float) -> None:
        self._create_time.observe(seconds)
        self._note(pool)

    def checked_out(self, pool: FairQueuePool, waited: float) -> None:
        self._wait_time.observe(waited)
        self._note(pool)

    def timed_out(self, pool: FairQueuePool, waited: float) -> None:
        self._timeouts.add()
        self._exhausted.add()
        self._note(pool)

    def checked_in(self, pool: FairQueuePool, used: float) -> None:
        self._use_time.observe(used)
        self._note(pool)

    def released(self, pool: FairQueuePool, route: str, held: float) -> None:
        series = self._held.get(route)
        if series is None:
            series = self._held[route] = HELD.labels(self._name, route)
            HELD_LONG.labels(self._name, route)  # 0, so that the first one is an increase
        series.add(held)

    def replaced(self, pool: FairQueuePool, reason: str) -> None:
        self._replaced[reason].add()
        self._note(pool)

    def held(self, pool: FairQueuePool, route: str) -> None:
        HELD_LONG.labels(self._name, route or NO_ROUTE).add()
        self._note(pool)

    def leaked(self, pool: FairQueuePool, taker: str) -> None:
        self._leaks.add()
        self._note(pool)
        _remember(self._name, taker)

    def _note(self, pool: FairQueuePool) -> None:
        if pool is not self._latest:
            self._latest = pool
            self._pools.add(pool)
        counting.wake()

    def set_gauges(self) -> None:
        """Read the pools."""
        pools, latest = list(self._pools), self._latest
        now = (
            sum(map(FairQueuePool.checkedout, pools)), sum(map(FairQueuePool.open_idle, pools)),
            sum(map(FairQueuePool.waiting, pools)), latest.size(), latest.capacity,
        )  # fmt: skip
        for gauge, value in zip(self._gauges, now, strict=True):
            gauge.set(value)


class _RequestMetrics(Observer):
    def __init__(self) -> None:
        self._unavailable = {reason: UNAVAILABLE.labels(reason) for reason in ALL_REASONS}
        self._retries = RETRIES.labels()

    def retried(self) -> None:
        self._retries.add()
        counting.wake()

    def unavailable(self, reason: str) -> None:
        self._unavailable[reason].add()
        counting.wake()


def watch_queue() -> None:
    """Count what happens in front of the application; once in a process."""
    if RULE.on_wait:
        return
    wait, refused = QUEUE_TIME.labels(), UNAVAILABLE.labels(OVERLOADED)
    REFUSING_SINCE.labels()

    def waited(seconds: float) -> None:
        wait.observe(seconds)
        counting.wake()

    def refuse(number: int) -> None:
        refused.add(number)
        counting.wake()

    RULE.on_wait.append(waited)
    RULE.on_refusal.append(refuse)


def _set_gauges() -> None:
    REFUSING_SINCE.labels().set(RULE.since or 0.0)
    for metrics in list(_all.values()):
        metrics.set_gauges()


counting.before_reading.append(_set_gauges)


# who leaked a connection last: a file that all workers tell

LEAKS_FILE = "leaks"

_own: dict[str, dict[str, Any]] = {}


def last_leaks() -> dict[str, dict[str, Any]]:
    """Return of each pool the last leak in any worker: its taker, and the time."""
    folder = shared.folder()
    with suppress(OSError):
        if folder is not None:
            return dict(json.loads((folder / LEAKS_FILE).read_text("utf-8")))
    return dict(_own)


def _remember(name: str, taker: str) -> None:
    folder, _own[name] = shared.folder(), {"taker": taker, "time": time()}
    with suppress(OSError):  # a full disk must not keep a connection from its pool
        if folder is not None:
            shared.replace(folder / LEAKS_FILE, last_leaks() | {name: _own[name]})
