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


@dataclass
class Slice:
    """One service under load once."""

    seen: Load
    cpu: float
    round_trips: int
    connections: int

    @property
    def rate(self) -> float:
        """Requests answered per second."""
        return (self.seen.requests - self.seen.failed) / self.seen.seconds


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
        proxy, cpu = service.proxy, service.cpu_seconds()
        counted = (proxy.round_trips, proxy.connections) if proxy else (0, 0)
        seen = load(service.port, self.route, self.clients, self.seconds)
        return Slice(
            seen,
            service.cpu_seconds() - cpu,
            proxy.round_trips - counted[0] if proxy else 0,
            proxy.connections - counted[1] if proxy else 0,
        )

    def _result(self, service: Service, base: list[Slice]) -> Result:
        slices = self.slices[service.candidate.key]
        rates = [one.rate for one in slices]
        requests = sum(one.seen.requests for one in slices)
        result: Result = {
            "candidate": service.candidate.key,
            "requests_per_second": round(statistics.median(rates), 1),
            "lowest": round(min(rates), 1),
            "highest": round(max(rates), 1),
            "ratio": ratio([one.rate for one in base], rates),
            "median_ms": median_of([one.seen.median_ms for one in slices]),
            "percentile_99_ms": median_of([one.seen.percentile_99_ms for one in slices]),
            "cpu_ms": median_of([1000 * one.cpu / max(one.seen.requests, 1) for one in slices]),
            "memory_mib": round(service.memory(), 1),
            "requests": requests,
            "failed": sum(one.seen.failed for one in slices),
            "rounds": len(slices),
        }
        if service.proxy:
            result["round_trips"] = round(sum(one.round_trips for one in slices) / requests, 2)
            result["connections"] = round(sum(one.connections for one in slices) / requests, 4)
        return result


def ratio(base: list[float], rates: list[float]) -> float:
    """Give how much faster the base is: the median of the ratios of each turn."""
    found = [own / max(other, 1e-9) for own, other in zip(base, rates, strict=True)]
    return round(statistics.median(found), 3)


def median_of(values: list[float]) -> float:
    """Give the median, rounded for reading."""
    return round(statistics.median(values), 3)
