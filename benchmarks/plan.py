"""How much is measured, and the time that all of it may take."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """Rounds and seconds of the main comparisons and of the side ones, and what they vary."""

    limit: float  # seconds for everything
    rounds: int
    seconds: int
    side_rounds: int
    side_seconds: int
    delays: tuple[int, ...]  # milliseconds each way
    threads: tuple[int, ...]
    thread_delays: tuple[int, ...]
    repeats: int  # of counts and bakes


FULL = Scale(
    limit=15 * 60,
    rounds=5,
    seconds=3,
    side_rounds=3,
    side_seconds=2,
    delays=(1, 5),
    threads=(2, 4, 5, 8),
    thread_delays=(0, 1, 5),
    repeats=3,
)
QUICK = Scale(
    limit=2 * 60,
    rounds=1,
    seconds=1,
    side_rounds=1,
    side_seconds=1,
    delays=(1,),
    threads=(2, 8),
    thread_delays=(0,),
    repeats=1,
)


class Clock:
    """Says when time is up, and keeps what was left out for it."""

    def __init__(self, limit: float) -> None:
        self.started = time.monotonic()
        self.deadline = self.started + limit
        self.left_out: list[str] = []

    @property
    def spent(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    def allows(self, what: str, seconds: float = 0) -> bool:
        """Tell whether there is time for something that takes so long; note it if there is not."""
        if time.monotonic() + seconds <= self.deadline:
            return True
        if what not in self.left_out:
            self.left_out.append(what)
        return False
