"""Counters, gauges and histograms: plain numbers that cost a request little.

Counting leaves nothing for the garbage collector and needs no prometheus_client. `data` reads the
numbers of this process; a thread writes them to a file, if others read them, see `shared`.
"""

from __future__ import annotations

import atexit
import json
import os
from _thread import start_new_thread
from bisect import bisect_left
from collections.abc import Callable
from threading import Lock, RLock
from time import sleep

from . import shared

BUCKETS = (
    0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025,
    0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
)  # fmt: skip
BOUNDS = (*map(str, map(float, BUCKETS)), "+Inf")
SOON = 0.1  # seconds until other processes see what was counted
# of several processes everything is added up, but for GAUGE_MAX, of which the highest counts
COUNTER, GAUGE, GAUGE_MAX, HISTOGRAM = ("counter", "gauge", "gauge_max", "histogram")

METRICS: list[Metric] = []
# called before the numbers are read: gauges are set then
before_reading: list[Callable[[], object]] = []
awake = False  # what is counted will be written, or nobody else reads it

# reentrant: the garbage collector may return a connection in a thread that is counting
_lock = RLock()
_writing = Lock()


class Series:
    """The numbers of one metric for one set of label values."""

    __slots__ = ("cells", "key")

    def __init__(self, key: str, length: int) -> None:
        self.key = key
        self.cells = [0.0] * length

    def add(self, amount: float = 1.0) -> None:
        """Add to a counter."""
        with _lock:
            self.cells[0] += amount

    def set(self, value: float) -> None:
        """Set a gauge."""
        self.cells[0] = value

    def observe(self, seconds: float) -> None:
        """Add a time to a histogram, whose cells are the sum and the count of each bucket."""
        bucket = bisect_left(BUCKETS, seconds) + 1
        with _lock:
            self.cells[0] += seconds
            self.cells[bucket] += 1


class Metric:
    """A metric, with the series of its labels."""

    def __init__(self, kind: str, name: str, text: str, *labels: str) -> None:
        self.kind, self.name, self.text, self.label_names = kind, name, text, labels
        self.series: dict[tuple[str, ...], Series] = {}
        METRICS.append(self)

    def labels(self, *values: str) -> Series:
        """Return the series of these values."""
        found = self.series.get(values)
        if found is None:
            key = json.dumps([self.kind, self.name, *values])
            length = 1 + len(BOUNDS) if self.kind == HISTOGRAM else 1
            with _lock:
                found = self.series.setdefault(values, Series(key, length))
        return found


def numbers() -> dict[str, list[float]]:
    """Return what this process counted, and what its gauges show now."""
    for prepare in before_reading:
        prepare()
    every = (series for metric in METRICS for series in list(metric.series.values()))
    return {series.key: series.cells.copy() for series in every}


# for other processes


def wake() -> None:
    """Have what is counted be written soon, if others read it."""
    global awake  # noqa: PLW0603
    if awake:
        return
    awake = True
    if shared.folder() is not None:
        try:
            start_new_thread(_write_soon, ())
        except RuntimeError:  # no room for a thread, or the interpreter ends, which writes too
            awake = False


def _write_soon() -> None:
    """Write until nothing is counted any more."""
    global awake  # noqa: PLW0603
    running = changed = True
    last: shared.Numbers = {}
    try:
        while running:
            sleep(SOON)
            # before the last look: what is counted from now on starts another thread
            running = awake = changed
            found = write()
            changed, last = found != last, found
    except BaseException:
        awake = False
        raise


def write() -> shared.Numbers:
    """Return what this process counted, and write it if others read it."""
    with _writing:
        found = numbers()
        shared.write(found)
    return found


def _after_fork() -> None:
    """Count from 0 in a child: what was counted is its parent's."""
    global awake, _lock, _writing
    awake, _lock, _writing = False, RLock(), Lock()
    for metric in METRICS:
        for series in metric.series.values():
            series.cells = [0.0] * len(series.cells)


atexit.register(write)
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)
