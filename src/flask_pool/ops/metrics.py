"""What the pool does, in OpenTelemetry's names and Prometheus' spelling."""

from __future__ import annotations

import atexit
import json
import os
from _thread import start_new_thread
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from threading import Lock, get_ident
from time import sleep, time
from typing import Any
from weakref import WeakSet

from prometheus_client import Counter, Gauge, Histogram

from ..errors import REASONS
from ..observer import Observer
from ..queue import RULE
from ..queue_pool import FairQueuePool
from . import shared

BUCKETS = (
    0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025,
    0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
)  # fmt: skip
POOL = ["pool_name"]
OVERLOADED = "overloaded"  # the reason of what is refused in front of the application
REPLACED_REASONS = ("recycled", "dead", "died")

gauge = partial(Gauge, multiprocess_mode="livesum")
histogram = partial(Histogram, labelnames=POOL, buckets=BUCKETS)
PREFIX = "db_client_connection_"
COUNT = gauge(f"{PREFIX}count", "Connections that are open, idle or used.", [*POOL, "state"])
MAX = gauge(f"{PREFIX}max", "The most connections that may be open.", POOL)
IDLE_MAX = gauge(f"{PREFIX}idle_max", "The most idle connections that are kept.", POOL)
PENDING = gauge(f"{PREFIX}pending_requests", "Threads that wait for a connection.", POOL)
TIMEOUTS = Counter(f"{PREFIX}timeouts", "Waits that ended without a connection.", POOL)
CREATE_TIME = histogram(f"{PREFIX}create_time_seconds", "Time to connect.")
WAIT_TIME = histogram(f"{PREFIX}wait_time_seconds", "Time from asking for one to having it.")
USE_TIME = histogram(f"{PREFIX}use_time_seconds", "Time from having one to giving it back.")
REPLACED = Counter(
    f"{PREFIX}replaced", "Recycled by age, dead when looked at, or died in use.", [*POOL, "reason"]
)
LEAKS = Counter(f"{PREFIX}leaks", "Connections taken by hand and not given back.", POOL)
RETRIES = Counter(
    "db_client_request_retries", "Safe requests run once more after their connection died."
)
UNAVAILABLE = Counter(
    "db_client_request_unavailable", "Requests answered with 503 for the database.", ["reason"]
)

QUEUE_TIME = Histogram(
    "request_queue_time_seconds", "Time from a request's arrival to the application.",
    buckets=BUCKETS,
)  # fmt: skip
REFUSING_SINCE = Gauge(
    "request_queue_refusing_since_seconds", "When a worker began to refuse requests, 0 if not.",
    multiprocess_mode="livemax",
)  # fmt: skip

SHARED = shared.folder() is not None  # then others' scrapes see what this process counts
SOON = 0.1  # seconds until they do
MANY = 500  # changes that wait, at most

Change = tuple[Callable[[Any], object], Any]

# what happened and is not counted yet; a thread looks after it
_changes: deque[Change] = deque()
_stale: set[tuple[_PoolMetrics, FairQueuePool]] = set()  # gauges that are to be read anew
_thread_runs = False
_busy = Lock()
_all: WeakSet[_PoolMetrics] = WeakSet()


def watch(pool: FairQueuePool, name: str) -> None:
    """Count what this pool does, and those that take its place."""
    pool.observers.append(_PoolMetrics(name))


def show(pools: Iterable[object]) -> None:
    """Have the numbers of pools be there before anything has happened."""
    for pool in pools:
        if isinstance(pool, FairQueuePool):
            for observer in pool.observers:
                if isinstance(observer, _PoolMetrics):
                    observer.started(pool)


def watch_requests(observers: list[Observer]) -> None:
    """Count what becomes of requests."""
    observers.append(_RequestMetrics())


class _PoolMetrics(Observer):
    def __init__(self, name: str) -> None:
        self._name = name
        self._pools: WeakSet[FairQueuePool] = WeakSet()
        self.shown: tuple[float | None, ...] = (None,) * 5
        with alone():
            self._gauges = (
                COUNT.labels(name, "used"), COUNT.labels(name, "idle"), PENDING.labels(name),
                IDLE_MAX.labels(name), MAX.labels(name),
            )  # fmt: skip
            self._timeouts, self._leaks = TIMEOUTS.labels(name), LEAKS.labels(name)
            self._create_time = CREATE_TIME.labels(name)
            self._wait_time, self._use_time = WAIT_TIME.labels(name), USE_TIME.labels(name)
            # from the start, so that the first one is an increase
            self._replaced = {reason: REPLACED.labels(name, reason) for reason in REPLACED_REASONS}
        _all.add(self)

    def queued(self, pool: FairQueuePool) -> None:
        self._note(pool)

    started = closed = queued

    def connected(self, pool: FairQueuePool, seconds: float) -> None:
        self._note(pool, (self._create_time.observe, seconds))

    def checked_out(self, pool: FairQueuePool, waited: float) -> None:
        self._note(pool, (self._wait_time.observe, waited))

    def timed_out(self, pool: FairQueuePool, waited: float) -> None:
        self._note(pool, (self._timeouts.inc, 1))

    def checked_in(self, pool: FairQueuePool, used: float) -> None:
        self._note(pool, (self._use_time.observe, used))

    def replaced(self, pool: FairQueuePool, reason: str) -> None:
        self._note(pool, (self._replaced[reason].inc, 1))

    def leaked(self, pool: FairQueuePool, taker: str) -> None:
        self._note(pool, (self._leaks.inc, 1))
        _remember(self._name, taker)

    def _note(self, pool: FairQueuePool, *changes: Change) -> None:
        _stale.add((self, pool))
        record(*changes)

    def show(self, latest: FairQueuePool) -> None:
        """Read the pools, which happens after whatever has changed them."""
        if latest not in self._pools:
            self._pools.add(latest)
        # one, unless a disposed one is still in use
        pools = (latest,) if len(self._pools) == 1 else tuple(self._pools)
        now = (
            sum(map(FairQueuePool.checkedout, pools)), sum(map(FairQueuePool.open_idle, pools)),
            sum(map(FairQueuePool.waiting, pools)), latest.size(), latest.capacity,
        )  # fmt: skip
        if now != self.shown:
            for gauge, value, shown in zip(self._gauges, now, self.shown, strict=True):
                if value != shown:
                    gauge.set(value)
            self.shown = now


class _RequestMetrics(Observer):
    def __init__(self) -> None:
        with alone():
            reasons = dict.fromkeys((*REASONS, OVERLOADED))
            self._unavailable = {reason: UNAVAILABLE.labels(reason) for reason in reasons}

    def retried(self) -> None:
        record((RETRIES.inc, 1))

    def unavailable(self, reason: str) -> None:
        record((self._unavailable[reason].inc, 1))


class _QueueMetrics:
    """Counts waits in front of the application, and what was refused there."""

    since: float | None = None

    def waited(self, seconds: float) -> None:
        record((QUEUE_TIME.observe, seconds))
        self._note()

    def refused(self, number: int) -> None:
        record((UNAVAILABLE.labels(OVERLOADED).inc, number))
        self._note()

    def _note(self) -> None:
        if RULE.since != self.since:
            self.since = RULE.since
            record((REFUSING_SINCE.set, self.since or 0.0))


def watch_queue() -> None:
    """Count what happens in front of the application; once in a process."""
    if not RULE.on_wait:
        queue = _QueueMetrics()
        RULE.on_wait.append(queue.waited)
        RULE.on_refusal.append(queue.refused)


def record(*changes: Change) -> None:
    """Keep changes for whoever applies them: a scrape, or a thread within SOON.

    prometheus_client's own lock is not reentrant: were it waited for, the garbage collector
    could block a thread for good by returning a connection while the thread holds it.
    """
    global _thread_runs
    _changes.extend(changes)
    if len(_changes) >= MANY and _busy.acquire(blocking=False):
        try:
            _apply()
        finally:
            _busy.release()
    elif SHARED and not _thread_runs:
        _thread_runs = True
        with suppress(RuntimeError):  # no room for a thread: left to MANY, and to the end
            start_new_thread(_apply_soon, ())


def _apply_soon() -> None:
    """Apply changes for the scrapes of other workers, until there are none."""
    global _thread_runs
    while _thread_runs:
        sleep(SOON)
        _thread_runs = bool(_changes or _stale)  # before the last look
        try:
            catch_up()
        except BaseException:  # such as a full disk: the next change starts another thread
            _thread_runs = False
            raise


def _apply() -> None:
    # no more than there are now: others add as fast as one thread can take away
    for _ in range(len(_changes)):
        change, amount = _changes.popleft()
        change(amount)
    for _ in range(len(_stale)):
        metrics, pool = _stale.pop()
        metrics.show(pool)


@contextmanager
def alone() -> Iterator[None]:
    """Apply what happened, and use prometheus_client while nobody else does."""
    with _busy:
        _apply()
        yield


def catch_up() -> None:
    """Count what happened until now."""
    with alone():
        pass


def _after_fork() -> None:
    """Count nothing yet in a child: what was counted is its parent's."""
    global _thread_runs
    _thread_runs = False
    _changes.clear()
    _stale.clear()
    for metrics in _all:
        metrics.shown = (None,) * 5
    _busy.release()


atexit.register(catch_up)
if hasattr(os, "register_at_fork"):  # not on Windows
    # fork only while nobody holds prometheus_client's lock: a child could never free it
    os.register_at_fork(
        before=_busy.acquire, after_in_parent=_busy.release, after_in_child=_after_fork
    )


# who leaked a connection last: a file that all workers tell


_own: dict[str, dict[str, Any]] = {}


def last_leaks() -> dict[str, dict[str, Any]]:
    """Return of each pool the last leak in any worker: its taker, and the time."""
    folder = shared.folder()
    with suppress(OSError, ValueError):
        if folder is not None:
            return dict(json.loads((folder / "leaks.json").read_text("utf-8")))
    return dict(_own)


def _remember(name: str, taker: str) -> None:
    folder, _own[name] = shared.folder(), {"taker": taker, "time": time()}
    if folder is not None:
        draft = folder / f"draft_{get_ident()}_{os.getpid()}.json"
        with suppress(OSError):  # a full disk must not keep a connection from its pool
            draft.write_text(json.dumps(last_leaks() | {name: _own[name]}), encoding="utf-8")
            draft.replace(folder / "leaks.json")
