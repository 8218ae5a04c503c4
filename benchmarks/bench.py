"""What all sections share: the project, how much, and what was found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .load import CREATE, Route
from .measure import Comparison, Result
from .plan import Clock, Scale
from .project import Project
from .service import Service
from .tables import Cell, title

CLIENTS = 8


@dataclass
class Bench:
    """One run."""

    project: Project
    scale: Scale
    clock: Clock
    say: Callable[[str], object]
    cells: list[Cell] = field(default_factory=list)
    found: dict[str, Any] = field(default_factory=dict)

    def compare(
        self,
        section: str,
        services: Sequence[Service],
        route: Route,
        clients: int = CLIENTS,
        *,
        main: bool = False,
    ) -> list[Result]:
        """Measure services side by side and keep the result under a section's name."""
        scale, first = self.scale, services[0]
        rounds = scale.rounds if main else scale.side_rounds
        seconds = scale.seconds if main else scale.side_seconds
        cell: Cell = {
            "section": section,
            "database": first.data.kind,
            "route": route.name,
            "clients": clients,
            "workers": first.settings["WEB_CONCURRENCY"],
            "threads": first.settings["WEB_THREADS"],
            "delay_ms": round(1000 * first.proxy.delay_to_server) if first.proxy else 0,
        }
        what = f"{section}: {title(cell)}"
        if not self.clock.allows(what, len(services) * (seconds + 0.5)):
            return []
        self.say(what)
        # what was posted goes away, so that every slice begins with the same table
        before: Callable[[], object] = first.data.refill if route is CREATE else _nothing
        results = Comparison(route, clients, rounds, seconds, self.clock, before).run(services)
        if route is CREATE:
            first.data.refill()
        self.cells.append(cell | {"results": results})
        return results


def _nothing() -> None:
    pass
