"""CPU time of one WSGI call in one process, without a server; run in the project's environment.

Plain Flask-SQLAlchemy, with pre-ping, and with the pool, in turns: a JSON line of microseconds.
"""

from __future__ import annotations

import gc
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from flask import Flask
from werkzeug.test import EnvironBuilder

from .apps.plain import create_app

CALLS = {"GET /same": None, "GET /now": None, "POST /same": {"name": "Alice"}}
EACH, WARM = 100, 200  # calls of a slice, and before the first


def call(app: Flask, route: str) -> None:
    """Ask as a server does, and read the answer."""
    method, path = route.split()
    environ = EnvironBuilder(path, method=method, json=CALLS[route]).get_environ()
    started: list[str] = []

    def start(status: str, *_: object) -> Callable[[bytes], object]:
        started.append(status)
        return started.append  # type: ignore[return-value]  # the old way to write, unused

    answer: Any = app.wsgi_app(environ, start)
    b"".join(answer)
    answer.close()
    if not started[0].startswith("20"):
        raise RuntimeError(f"{route}: {started[0]}")


def measure(slices: int) -> dict[str, dict[str, dict[str, float]]]:
    """Return the minimum and the median over slices, by route and kind."""
    apps = {
        "defaults": create_app(),
        "pre_ping": create_app(pool_pre_ping=True),
        "pool": create_app(pooled=True),
    }
    found: dict[str, dict[str, dict[str, float]]] = {}
    for route in CALLS:
        for app in apps.values():
            for _ in range(WARM):
                call(app, route)
        gc.collect()
        gc.freeze()
        taken: dict[str, list[float]] = {kind: [] for kind in apps}
        for number in range(slices):
            for kind in list(apps)[:: -1 if number % 2 else 1]:
                started = time.process_time()
                for _ in range(EACH):
                    call(apps[kind], route)
                taken[kind].append(1e6 * (time.process_time() - started) / EACH)
        found[route] = {
            kind: {"least": round(min(times), 1), "median": round(statistics.median(times), 1)}
            for kind, times in taken.items()
        }
    return found


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]))))
