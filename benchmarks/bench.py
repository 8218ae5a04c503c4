"""What all sections share: the project, the databases, how much, and what was found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .database import Data
from .load import CREATE, Route
from .measure import Comparison, Result
from .plan import Clock, Scale
from .project import Project
from .service import Service

Cell = dict[str, Any]


@dataclass
class Bench:
    """One run."""

    project: Project
    scale: Scale
    clock: Clock
    say: Callable[[str], object]
    cells: list[Cell] = field(default_factory=list)
    found: dict[str, Any] = field(default_factory=dict)

    def compare(  # noqa: PLR0913
        self,
        section: str,
        services: Sequence[Service],
        route: Route,
        clients: int,
        data: Data,
        *,
        main: bool = False,
        **varied: object,
    ) -> list[Result]:
        """Measure services side by side and keep the result under a section's name."""
        scale = self.scale
        rounds = scale.rounds if main else scale.side_rounds
        seconds = scale.seconds if main else scale.side_seconds
        cell: Cell = {"section": section, "route": route.name, "clients": clients, **varied}
        what = ", ".join([section, route.name, f"{clients} clients", *_words(varied)])
        if not self.clock.allows(what, len(services) * (seconds + 0.5)):
            return []
        self.say(what)
        # what was posted goes away, so that every slice begins with the same table
        before: Callable[[], object] = data.refill if route is CREATE else _nothing
        results = Comparison(route, clients, rounds, seconds, self.clock, before).run(services)
        if route is CREATE:
            data.refill()
        self.cells.append(cell | {"results": results})
        return results


def _words(varied: dict[str, object]) -> list[str]:
    return [f"{name.replace('_', ' ')} {value}" for name, value in varied.items()]


def _nothing() -> None:
    pass
