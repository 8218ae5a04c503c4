"""The numbers to reach, beside those that were measured; told, never asserted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .tables import Results, cells


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
    found = [target for cell in cells(results, "users") for target in _rates(cell)]
    found += _counts(results.get("counts", []), {"GET /users": 1, "POST /users": 3}, "PostgreSQL")
    found += _counts(results.get("mariadb_counts", []), {"GET /users": 1}, "MariaDB")
    if "template_seconds" in results.get("bake", {}):
        found.append(Target("bake", results["bake"]["template_seconds"], 0.5, " s", at_most=True))
    return found


def _rates(cell: dict[str, Any]) -> list[Target]:
    ratios = {result["candidate"]: result["ratio"] for result in cell["results"]}
    wanted = {"pre_ping": 1.3, "by_hand": 0.6, "unpooled": 4.0}
    names = {
        "pre_ping": "Flask-SQLAlchemy with pre-ping",
        "by_hand": "psycopg_pool by hand",
        "unpooled": "unpooled",
    }
    found = [
        Target(f"requests/s against {names[key]}", round(ratios[key], 2), least, " x")
        for key, least in wanted.items()
        if key in ratios
    ]
    costs = {"plain_pool": "the pool, against a plain QueuePool", "unmeasured": "its metrics alone"}
    return found + [
        Target(f"cost of {what}", round(100 * (1 - ratios[key]), 1), 5, " %", at_most=True)
        for key, what in costs.items()
        if key in ratios
    ]


def _counts(found: list[dict[str, Any]], wanted: dict[str, float], place: str) -> list[Target]:
    routes: dict[str, dict[str, float]] = next(
        (one["routes"] for one in found if one["candidate"] == "baked"), {}
    )
    return [
        Target(
            f"round trips of {route} on {place}", routes[route]["round_trips"], most, at_most=True
        )
        for route, most in wanted.items()
        if route in routes
    ]
