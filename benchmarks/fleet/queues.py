"""Queueing theory that the simulations use or are compared with. Times are seconds."""

from __future__ import annotations

from collections import deque
from math import inf


def erlang_c(servers: int, load: float) -> float:
    """Return the share of requests that wait in an M/M/c queue with this load in erlangs."""
    if load >= servers:
        return 1.0
    blocked = 1.0  # Erlang B by its recurrence, which holds no factorial
    for number in range(1, servers + 1):
        blocked = load * blocked / (number + load * blocked)
    return blocked / (1 - load / servers * (1 - blocked))


def mean_wait(servers: int, rate: float, service: float) -> float:
    """Return the mean wait of an M/M/c queue: C(c, a) / (c/s - rate)."""
    load = rate * service
    if load >= servers:
        return inf
    return erlang_c(servers, load) * service / (servers - load)


class Line:
    """A fluid in line: cohorts that came together are served in order, or lose patience."""

    def __init__(self, patience: float) -> None:
        self.patience = patience
        self.served = self.refused = self.waiting = 0.0
        self._cohorts: deque[list[float]] = deque()

    def advance(self, now: float, came: float, most: float) -> None:
        """Let these come, `most` be served and those leave who have waited too long."""
        if came:
            self._cohorts.append([now, came])
            self.waiting += came
        while self._cohorts and now - self._cohorts[0][0] > self.patience:
            gone = self._cohorts.popleft()[1]
            self.refused += gone
            self.waiting -= gone
        while self._cohorts and most > 0:
            first = self._cohorts[0]
            part = min(first[1], most)
            first[1] -= part
            most -= part
            self.served += part
            self.waiting -= part
            if not first[1]:
                self._cohorts.popleft()

    def age(self, now: float) -> float:
        """Return how long the first in line has waited."""
        return now - self._cohorts[0][0] if self._cohorts else 0.0
