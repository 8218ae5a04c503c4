"""The whole fleet as a fluid: a day's load, and a restart of a primary at its busiest moment.

Each server is a line in front of its cores, at the rate that they, or the poolers before them,
serve at most. A request that finds no connection is refused at once, and one that has waited
for PATIENCE is given up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import ceil, cos, inf, pi
from typing import NamedTuple

from .queues import Line
from .steps import BACKENDS, CORES, LADDER, PATIENCE, READ, TRANSACTIONS, Fleet, Step

CONNECT = 0.00066  # seconds of the one process that accepts connections; measured
CONNECT_TIMEOUT = 5.0  # SQLALCHEMY_CONNECT_TIMEOUT
BACKLOG = 4096  # net.core.somaxconn, which bounds how many wait to be accepted
DAY, NOON = 86_400.0, 43_200.0
OUTAGE = 10.0  # seconds that the restarting primary is away
COARSE, FINE, WINDOW = 30.0, 0.1, 240.0  # seconds of a moment; of a fine one, for so long
RESTARTS = (
    (10, LADDER[1]),
    (90, LADDER[1]),
    (450, LADDER[2]),
    (4_000, Step("direct, were 100,000 granted", max_connections=100_000)),
    (4_000, Step("8 PgBouncers, server_login_retry 15", poolers=8, login_retry=15.0)),
    (4_000, Step("8 PgBouncers, server_login_retry 1", poolers=8)),
    (3_000, Step("8 PgBouncers, server_login_retry 1", poolers=8)),
    (10_000, LADDER[6]),
    (100_000, LADDER[7]),
)


def rate_at(time: float) -> float:
    """Return the share of noon's load: a fifth at midnight."""
    return 0.6 - 0.4 * cos(2 * pi * time / DAY)


class Moment(NamedTuple):
    """A moment of a restart."""

    time: float  # since the primary went away
    refused: float  # share of the requests
    age: float  # seconds that the first in line has waited
    open: float  # connections of the primary


@dataclass
class Day:
    """What came of a day's requests; `moments` are those around noon."""

    arrived: float = 0.0
    served: float = 0.0
    refused: float = 0.0
    waiting: float = 0.0
    moments: list[Moment] = field(default_factory=list)

    @property
    def lost(self) -> float:
        """Return how many seconds of requests the restart refused."""
        return sum(moment.refused for moment in self.moments) * FINE

    @property
    def longest(self) -> float:
        """Return the longest wait around the restart."""
        return max(moment.age for moment in self.moments)

    @property
    def over(self) -> float:
        """Return when requests are served as before: hardly any refused, and none waits."""
        late = (one.time for one in self.moments if one.refused > 0.001 or one.age > 2 * FINE)
        return max(late, default=0.0) + FINE


def play(fleet: Fleet, *, restart: bool, connect: float = CONNECT) -> Day:
    """Return what came of a day, with one primary restarting at noon if asked."""
    day = Day()
    poolers = fleet.step.poolers * TRANSACTIONS or inf
    most = min(poolers, CORES / fleet.service)  # a second, of one primary
    most_reads = min(poolers, CORES / READ) * fleet.replicas * fleet.shards
    hit, others, readers = (Line(PATIENCE) for _ in range(3))
    part = fleet.primary_share / fleet.shards
    primary = _Primary(fleet, hit, connect)
    lines = (hit, others, readers)
    for now, seconds in _moments(fine=restart):
        before = day.refused + sum(line.refused for line in lines)
        came = fleet.noon * rate_at(now) * seconds
        day.arrived += came
        away = restart and NOON <= now < NOON + OUTAGE
        day.refused += primary.advance(now, came * part, most * seconds, seconds, away)
        connected = came * fleet.connected
        day.refused += (came - connected) * (1 - part)
        # who waits for the primary keeps a thread; with none left the others wait too
        free = seconds if hit.waiting < fleet.entries else 0.0
        rest = fleet.shards - 1
        others.advance(now, connected * part * rest, most * rest * free)
        readers.advance(now, connected * (1 - fleet.primary_share), most_reads * free)
        if restart and abs(now - NOON) < WINDOW and came:
            refused = day.refused + sum(line.refused for line in lines) - before
            age = max(line.age(now) for line in lines)
            day.moments.append(Moment(now - NOON, refused / came, age, primary.open))
    day.served = hit.served + others.served + readers.served
    day.refused += sum(line.refused for line in lines)
    day.waiting = primary.connecting + sum(line.waiting for line in lines)
    return day


class _Primary:
    """The primary that restarts, and what of its connections is open."""

    def __init__(self, fleet: Fleet, line: Line, connect: float) -> None:
        self.fleet, self.line, self.connect = fleet, line, connect
        self.pooled = fleet.step.poolers > 0
        self.most_open = float(BACKENDS if self.pooled else min(fleet.entries, fleet.granted))
        self.open, self.connecting = self.most_open, 0.0
        self.asked: deque[list[float]] = deque()  # who waits to be accepted: since when, how many
        retry = fleet.step.login_retry
        self.back = NOON + ceil(OUTAGE / retry) * retry  # when a pooler tries again

    def advance(self, now: float, came: float, most: float, seconds: float, away: bool) -> float:
        """Let these requests come; return how many were refused at once."""
        if not self.pooled:
            return self._directly(now, came, most, seconds, away)
        if away or (NOON <= now < self.back and self.open < self.most_open):
            self.open, most = 0.0, 0.0
        else:
            self.open = min(self.most_open, self.open + seconds / self.connect)
            most = min(most, self.open / self.fleet.service * seconds)
        connected = came * self.fleet.connected
        self.line.advance(now, connected, most)
        return came - connected

    def _directly(self, now: float, came: float, most: float, seconds: float, away: bool) -> float:
        if away:  # nobody listens, and what was open is gone
            refused, self.open, self.connecting = came + self.connecting, 0.0, 0.0
            self.asked.clear()
            self.line.advance(now, 0, 0)
            return refused
        refused = self._too_late(now)
        done = self._accept(seconds / self.connect)
        # a pool hands out first in first out: as many dead ones as there are among the idle
        idle = self.fleet.entries - self.connecting
        alive = min(1.0, self.open / idle) if idle > 0 else 0.0
        dead = came * (1 - alive)
        free = self.most_open - self.open - self.connecting  # what the server still grants
        queued = sum(many for _, many in self.asked)
        asked = max(0.0, min(dead, BACKLOG - queued, free, idle))
        if asked:
            self.asked.append([now, asked])
            self.connecting += asked
        self.line.advance(now, came - dead + done, most)
        return refused + dead - asked

    def _too_late(self, now: float) -> float:
        """Give up what has asked for too long; the server will find that out in its turn."""
        late = 0.0
        for cohort in self.asked:
            if 0 <= cohort[0] < now - CONNECT_TIMEOUT:
                late += cohort[1]
                cohort[0] = -1.0
        self.connecting -= late
        return late

    def _accept(self, most: float) -> float:
        """Accept so many in order; return how many of them still wanted it."""
        done = 0.0
        while self.asked and most > 0:
            since, many = self.asked[0]
            part = min(many, most)
            most -= part
            done += part if since >= 0 else 0.0
            self.asked[0][1] -= part
            if part == many:
                self.asked.popleft()
        self.open += done
        self.connecting -= done
        return done


def _moments(*, fine: bool) -> Iterator[tuple[float, float]]:
    """Yield when each moment of a day begins, and its seconds."""
    first, last = NOON - WINDOW, NOON + WINDOW
    for number in range(round(DAY / COARSE)):
        now = number * COARSE
        if not (fine and first <= now < last):
            yield now, COARSE
            continue
        for part in range(round(COARSE / FINE)):
            yield now + part * FINE, FINE
