"""Services under load in turns: one slice each, again and again, medians of the slices."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .load import Load, Route, load
from .plan import Clock
from .service import Service

Result = dict[str, Any]
# of these the ratios of each turn are kept
COMPARED = ("requests_per_second", "median_ms", "percentile_99_ms", "cpu_ms")


@dataclass
class Slice:
    """One service under load once."""

    seen: Load
    cpu: float
    switches: int
    opened: int
    round_trips: int

    def figures(self) -> dict[str, float]:
        """Give what is compared."""
        requests = max(self.seen.requests, 1)
        return {
            "requests_per_second": (self.seen.requests - self.seen.failed) / self.seen.seconds,
            "median_ms": self.seen.median_ms,
            "percentile_99_ms": self.seen.percentile_99_ms,
            "cpu_ms": 1000 * self.cpu / requests,
            "switches": self.switches / requests,
            "opened_per_second": self.opened / self.seen.seconds,
        }


@dataclass
class Comparison:
    """A route asked for by so many clients, of every service in turns."""

    route: Route
    clients: int
    rounds: int
    seconds: int
    clock: Clock
    before: Callable[[], object] = lambda: None
    slices: dict[str, list[Slice]] = field(default_factory=dict)

    def run(self, services: Sequence[Service]) -> list[Result]:
        """Measure in turns forwards and backwards; the first service is what ratios refer to."""
        for turn in range(self.rounds):
            # a turn is whole or not at all: ratios are those of one turn
            whole = len(services) * (self.seconds + 0.5)
            if turn and not self.clock.allows(f"rounds of {self.route.name}", whole):
                break
            for service in services[:: -1 if turn % 2 else 1]:
                self.before()
                self.slices.setdefault(service.candidate.key, []).append(self._slice(service))
        base = self.slices[services[0].candidate.key]
        return [self._result(service, base) for service in services]

    def _slice(self, service: Service) -> Slice:
        proxy, opened, cpu = service.proxy, service.data.opened(), service.cpu_seconds()
        switches, round_trips = service.switches(), proxy.round_trips if proxy else 0
        seen = load(service.port, self.route, self.clients, self.seconds)
        return Slice(
            seen,
            service.cpu_seconds() - cpu,
            service.switches() - switches,
            service.data.opened(since=opened),
            proxy.round_trips - round_trips if proxy else 0,
        )

    def _result(self, service: Service, base: list[Slice]) -> Result:
        slices = self.slices[service.candidate.key]
        figures = [one.figures() for one in slices]
        base_figures = [one.figures() for one in base]
        rates = [one["requests_per_second"] for one in figures]
        requests = sum(one.seen.requests for one in slices)
        result: Result = {
            "candidate": service.candidate.key,
            **{name: median([one[name] for one in figures]) for name in figures[0]},
            "lowest": round(min(rates), 1),
            "highest": round(max(rates), 1),
            "ratios": {
                name: ratio([one[name] for one in base_figures], [one[name] for one in figures])
                for name in COMPARED
            },
            "memory_mib": round(service.memory(), 1),
            "requests": requests,
            "failed": sum(one.seen.failed for one in slices),
            "rounds": len(slices),
        }
        if service.proxy:
            round_trips = sum(one.round_trips for one in slices)
            result["round_trips"] = round(round_trips / max(requests, 1), 2)
        return result


def ratio(base: list[float], own: list[float]) -> float:
    """Give how much more the base has: the median of the ratios of each turn."""
    found = [ours / max(theirs, 1e-9) for ours, theirs in zip(base, own, strict=True)]
    return median(found)


def median(values: list[float]) -> float:
    """Give the median, rounded for reading."""
    return round(statistics.median(values), 3)
