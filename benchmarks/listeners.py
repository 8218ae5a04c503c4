"""What each listener costs a request, in microseconds; run in the project's environment.

Each is timed by itself, without what it calls of the others: the median of many requests.
"""

from __future__ import annotations

import gc
import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable
from functools import wraps
from time import perf_counter_ns
from typing import Any

from flask import Flask
from flask_pool import commits, queue, reads, uses
from flask_pool.ops import metrics
from flask_pool.queue_pool import FairQueuePool
from sqlalchemy.engine import Connection
from sqlalchemy.orm import Session
from sqlalchemy.pool import QueuePool

from .apps.plain import create_app
from .cpu import CALLS, WARM, call

# what is looked at, by the hook's name
PARTS: dict[str, tuple[tuple[Any, str], ...]] = {
    "pool: handing out and taking back": (
        (FairQueuePool, "_do_get"), (FairQueuePool, "_do_return_conn"),
    ),
    "checkout": ((uses, "taken"),),
    "checkin": ((uses, "returned"),),
    "reset": ((commits, "close_busy"),),
    "do_orm_execute": ((reads, "read"),),
    "do_execute": ((reads, "before_execute"),),
    "after_begin": ((reads, "note_begin"),),
    "before_commit": ((commits, "refuse_lost"),),
    "teardown_appcontext": ((commits, "end_session"),),
    "WSGI middleware": ((uses.Ends, "__call__"), (queue.Middleware, "__call__")),
    "metrics": tuple(
        (metrics._PoolMetrics, name)  # noqa: SLF001
        for name in ("checked_out", "checked_in", "released")
    ),
}  # fmt: skip
# what they call that is not theirs
PLAIN: dict[str, tuple[tuple[Any, str], ...]] = {
    "pool": ((QueuePool, "_do_get"), (QueuePool, "_do_return_conn")),
    "session": ((Session, "_execute_internal"),),
    "connection": ((Connection, "execute"), (Connection, "scalar")),
    "close": ((Session, "close"),),
    "Flask": ((Flask, "wsgi_app"),),
}


class Stopwatch:
    """Times calls, each without those of others that it makes."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self.inner = [0.0]
        self.cost = 0.0  # of measuring one call
        for part, places in (PARTS | PLAIN).items():
            for owner, name in places:
                if name in vars(owner):
                    setattr(owner, name, self.timed(part, vars(owner)[name]))
        self.cost = self._calibrated()

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that adds its own time to a part's."""

        @wraps(function)
        def wrapper(*arguments: Any, **named: Any) -> Any:
            self.inner.append(0.0)
            began = perf_counter_ns()
            try:
                return function(*arguments, **named)
            finally:
                took = perf_counter_ns() - began
                self.spent[part] += took - self.inner.pop()
                self.inner[-1] += took + self.cost

        return wrapper

    def _calibrated(self) -> float:
        nothing = self.timed("nothing", lambda: None)
        times = []
        for _ in range(1000):
            began = perf_counter_ns()
            nothing()
            times.append(perf_counter_ns() - began)
        self.spent.clear()
        self.inner = [0.0]
        return max(min(times) - 50, 0)  # about what an empty call takes


def measure(requests: int) -> dict[str, dict[str, float]]:
    """Return the microseconds of each part, by route."""
    watch = Stopwatch()
    apps = {"plain": create_app(), "pool": create_app(pooled=True)}
    found: dict[str, dict[str, float]] = {}
    for route in CALLS:
        medians: dict[str, dict[str, float]] = {}
        for kind, app in apps.items():
            for _ in range(WARM):
                call(app, route)
            gc.collect()
            gc.freeze()
            taken: list[dict[str, float]] = []
            for _ in range(requests):
                watch.spent.clear()
                began = perf_counter_ns()
                call(app, route)
                taken.append({"request": perf_counter_ns() - began, **watch.spent})
            parts = taken[-1].keys()
            medians[kind] = {
                part: statistics.median(one.get(part, 0.0) for one in taken) / 1000
                for part in parts
            }
        plain, pool = medians["plain"], medians["pool"]
        found[route] = {part: round(pool[part], 1) for part in ("request", *PARTS) if part in pool}
        # the session runs a statement once more than it would, and closes itself once more
        found[route]["do_orm_execute"] = round(
            pool.get("do_orm_execute", 0) + pool.get("session", 0) - plain.get("session", 0), 1
        )
        name = next(iter(PARTS))
        found[route][name] = round(pool[name] - plain["pool"], 1)
    return found


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]))))
