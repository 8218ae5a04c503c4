"""The numbers to reach, beside those that were measured; told, never asserted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .tables import ITSELF, Results, cells

NEAR = {"clients": 8, "workers": 1, "delay_ms": 0}
VIEW, USERS = "GET /same", "GET /users"
# what no benchmark measures, and the tests that assert it
ASSERTED = {
    "every backend killed once a second under GET load, 0 failed": "tests/faults/test_kills.py",
    "the same under POST load, 0 lost, 0 doubled": "tests/faults/test_kills.py",
    "20 threads on 2 connections, 1.5 x, 0 timeouts": "tests/faults/test_fairness.py",
    "views that differ from plain Flask-SQLAlchemy, 0": "tests/comparison",
}


@dataclass(frozen=True)
class Target:
    """A number to reach, and whether at least or at most that much is meant."""

    what: str
    measured: float
    wanted: float
    unit: str = ""
    at_most: bool = False

    @property
    def is_reached(self) -> bool:
        """Tell whether it was."""
        if self.at_most:
            return self.measured <= self.wanted
        return self.measured >= self.wanted

    def __str__(self) -> str:
        limit = "at most" if self.at_most else "at least"
        return f"{self.what}: {self.measured:g}{self.unit} ({limit} {self.wanted:g}{self.unit})"


def targets(results: Results) -> list[Target]:
    """Give every target whose section was measured."""
    wanted: dict[str, float] = {"GET /users": 1, "POST /users": 3}
    return [
        *_counts(results.get("counts", []), wanted, "PostgreSQL"),
        *_counts(results.get("mariadb_counts", []), {"GET /users": 1}, "MariaDB"),
        *_view(results),
        *_sample(results),
        *_itself(results.get("project", {})),
    ]


def _counts(found: list[dict[str, Any]], wanted: dict[str, float], place: str) -> list[Target]:
    routes: dict[str, dict[str, float]] = next(
        (one["routes"] for one in found if one["candidate"] == "untouched"), {}
    )
    targets = []
    for route, most in wanted.items():
        if route in routes:
            trips, opened = routes[route]["round_trips"], routes[route]["connections"]
            text = f"{route} on {place}"
            targets.append(Target(f"round trips of {text}", trips, most, at_most=True))
            targets.append(Target(f"connections opened by {text}", opened, 0, at_most=True))
    return targets


def _view(results: Results) -> list[Target]:
    """Compare engines by the same ORM view."""
    rates = [
        ("pre_ping", "beside the database", NEAR, 1.3),
        ("pre_ping", "beside the database, 2 workers", NEAR | {"workers": 2}, 1.3),
        ("pre_ping", "1 ms each way", NEAR | {"delay_ms": 1}, 1.4),
        ("pre_ping", "5 ms each way", NEAR | {"delay_ms": 5}, 3),
        ("unpooled", "beside the database", NEAR, 4),
    ]
    found = []
    for other, where, place, least in rates:
        for one in ratios(results, VIEW, other, place):
            text = f"requests/s of the same view against {_name(other)}, {where}"
            found.append(Target(text, one["requests_per_second"], least, " x"))
    for one in ratios(results, VIEW, "pre_ping", NEAR | {"clients": 1, "delay_ms": 1}):
        text = "time of the same view for one client, 1 ms each way, against pre-ping"
        found.append(Target(text, one["median_ms"], 0.4, " x", at_most=True))
    for one in ratios(results, VIEW, "plain_pool", NEAR):
        added = round(100 * (one["cpu_ms"] - 1), 1)
        text = "CPU time that the pool and its metrics add to a plain QueuePool"
        found.append(Target(text, added, 5, " %", at_most=True))
    return found


def _sample(results: Results) -> list[Target]:
    """Compare the untouched service with views written by hand."""
    found = []
    places = (("beside the database", 0, 0.6), ("1 ms each way", 1, 0.75), ("5 ms each way", 5, 2))
    for where, delay, least in places:
        for one in ratios(results, USERS, "by_hand", NEAR | {"delay_ms": delay}):
            text = f"requests/s of GET /users against psycopg_pool by hand, {where}"
            found.append(Target(text, one["requests_per_second"], least, " x"))
    for one in ratios(results, USERS, "by_hand", NEAR):
        text = "99th percentile of GET /users against psycopg_pool by hand"
        found.append(Target(text, one["percentile_99_ms"], 1.5, " x", at_most=True))
    return found


def ratios(
    results: Results, route: str, other: str, place: dict[str, int]
) -> list[dict[str, float]]:
    """Give the ratios of one comparison, the baked service being the first; none if not there."""
    return [
        result["ratios"]
        for section in ("view", "sample", "latency")
        for cell in cells(results, section=section, route=route, **place)
        for result in cell["results"]
        if result["candidate"] == other
    ]


def _name(other: str) -> str:
    return {"pre_ping": "Flask-SQLAlchemy with pre-ping"}.get(other, other)


def _itself(found: dict[str, float]) -> list[Target]:
    limits = {
        "bake_seconds": 0.5,
        "own_tests_seconds": 2,
        "all_tests_seconds": 6,
        "service_lines": 450,
        "core_lines": 1250,  # replicas and all
        "ops_lines": 1900,
    }
    return [
        Target(ITSELF[name], found[name], most, at_most=True)
        for name, most in limits.items()
        if name in found
    ]
