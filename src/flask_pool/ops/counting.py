"""Counters, gauges and histograms: plain numbers that cost a request little.

Counting leaves nothing for the garbage collector and needs no prometheus_client. `data` reads the
numbers of this process; a thread writes them to files, if others read them, see `shared`.
"""

from __future__ import annotations

import atexit
import json
import os
from _thread import start_new_thread
from bisect import bisect_left
from collections.abc import Callable
from pathlib import Path
from threading import Lock, RLock
from time import sleep

from . import shared

BUCKETS = (
    0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025,
    0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
)  # fmt: skip
BOUNDS = (*map(str, map(float, BUCKETS)), "+Inf")
SOON = 0.1  # seconds until other processes see what was counted
# prometheus_client's words for what is added up, and of what the highest counts
COUNTER, GAUGE, GAUGE_MAX, HISTOGRAM = ("counter", "gauge_livesum", "gauge_livemax", "histogram")

METRICS: list[Metric] = []
# called before the numbers are read: gauges are set then
before_reading: list[Callable[[], object]] = []
# a thread writes what is counted, or nobody else reads it; if not, `wake` is to be called
awake = False

# reentrant: the garbage collector may return a connection in a thread that is counting
_lock = RLock()
_writing = Lock()
_files: dict[str, shared.ValuesFile] = {}


class Series:
    """The numbers of one metric for one set of label values, each with its key in a file."""

    __slots__ = ("cells", "keys", "written")

    def __init__(self, keys: tuple[str, ...]) -> None:
        self.keys = keys
        self.clear()

    def clear(self) -> None:
        """Begin at 0."""
        self.cells = [0.0] * len(self.keys)
        self.written: list[float | None] = [None] * len(self.keys)

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
            with _lock:
                found = self.series.setdefault(values, Series(self._keys(values)))
        return found

    def _keys(self, values: tuple[str, ...]) -> tuple[str, ...]:
        labels = dict(zip(self.label_names, values, strict=True))
        if self.kind == HISTOGRAM:
            buckets = (self._key("_bucket", labels | {"le": bound}) for bound in BOUNDS)
            return (self._key("_sum", labels), *buckets)
        return (self._key("_total" if self.kind == COUNTER else "", labels),)

    def _key(self, suffix: str, labels: dict[str, str]) -> str:
        # as in prometheus_client's files
        return json.dumps([self.name, self.name + suffix, labels, self.text], sort_keys=True)


def numbers() -> dict[str, float]:
    """Return what this process counted."""
    read_now()
    every = (series for metric in METRICS for series in list(metric.series.values()))
    return {key: cell for each in every for key, cell in zip(each.keys, each.cells, strict=True)}


def read_now() -> None:
    """Have gauges show what is there now."""
    for prepare in before_reading:
        prepare()


# for other processes


def wake() -> None:
    """Have what is counted from now on be written, if others read it."""
    global awake  # noqa: PLW0603 - one thread per process
    with _lock:
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
    try:
        while running:
            sleep(SOON)
            # before the last look: what is counted from now on starts another thread
            running = awake = changed
            changed = write()
    except BaseException:
        awake = False
        raise


def write() -> bool:
    """Write what has changed to this process's files; tell whether anything had."""
    place = shared.folder()
    if place is None:
        return False
    changed = False
    with _writing:
        read_now()
        for metric in METRICS:
            for series in list(metric.series.values()):
                with _lock:
                    cells = series.cells.copy()
                if cells != series.written:
                    changed = True
                    _write(place, metric.kind, series, cells)
    return changed


def _write(place: Path, kind: str, series: Series, cells: list[float]) -> None:
    file = _files.get(kind)
    if file is None:
        file = _files[kind] = shared.ValuesFile(str(place / f"{kind}_pool_{os.getpid()}.db"))
    for key, value, before in zip(series.keys, cells, series.written, strict=True):
        if value != before:
            file.read_value(key)  # which makes room for it
            file.write_value(key, value, 0.0)
    series.written[:] = cells


def _after_fork() -> None:
    """Count from 0 in a child: what was counted is its parent's."""
    global awake, _lock, _writing
    awake, _lock, _writing = False, RLock(), Lock()
    _files.clear()
    for metric in METRICS:
        for series in metric.series.values():
            series.clear()


def _finish() -> None:
    write()
    while _files:
        _files.popitem()[1].close()


atexit.register(_finish)
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)
