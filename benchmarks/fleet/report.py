"""What the simulations say, as Markdown: the tables of docs/scale.md."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from math import sqrt
from statistics import mean, stdev

from .day import FINE, RESTARTS, Day
from .day import play as play_day
from .pools import Simulation
from .queues import mean_wait
from .steps import LADDER, READ_MOSTLY, Fleet, Step, most_instances
from .worker import Counts, Server, Settings

HOLD = 0.010  # seconds; what counts is the load
# connections of a pool, their load, and requests
POOLS = (
    (5, 0.5, 200_000),
    (5, 0.8, 200_000),
    (5, 0.9, 250_000),
    (100, 0.9, 250_000),
    (100, 0.95, 500_000),
)
RUNS = 10  # independent ones, whose spread tells how sure the mean is
STUDENT = 2.262  # of 95 % with 9 degrees of freedom
SIZES = (1, 10, 100, 1_000, 10_000, 100_000, 1_000_000)


@dataclass(frozen=True)
class Played:
    """A pool at a load, as it was played."""

    connections: int
    load: float
    seconds: float  # of each run
    runs: list[Counts]

    @property
    def rate(self) -> float:
        """Return how many requests come in a second."""
        return self.load * self.connections / HOLD

    @property
    def wait(self) -> float:
        """Return the mean wait that was seen."""
        return mean(run.wait / run.started for run in self.runs)

    @property
    def doubt(self) -> float:
        """Return how far the true mean may be off, with 95 % confidence."""
        spread = stdev(run.wait / run.started for run in self.runs)
        return STUDENT * spread / sqrt(len(self.runs))

    @property
    def waiting(self) -> float:
        """Return how many requests wait, on average over time."""
        return mean(run.area / self.seconds for run in self.runs)

    @property
    def expected(self) -> float:
        """Return the mean wait by Erlang's C formula."""
        return mean_wait(self.connections, self.rate, HOLD)


@dataclass(frozen=True)
class Found:
    """All that was played."""

    seed: int
    pools: list[Played]
    restarts: list[tuple[Fleet, Day]]


def play(seed: int) -> Found:
    """Play the pools and the restarts."""
    restarts = [Fleet(step, instances) for instances, step in RESTARTS]
    return Found(
        seed,
        [play_pool(seed, *pool) for pool in POOLS],
        [(fleet, play_day(fleet, restart=True)) for fleet in restarts],
    )


def play_pool(seed: int, connections: int, load: float, requests: int) -> Played:
    """Play a pool of so many connections at this load, with a thread for each connection."""
    rate = load * connections / HOLD
    settings = Settings(
        threads=connections, pool_size=connections, max_overflow=0, rate=rate, hold=HOLD
    )
    seconds = requests / RUNS / rate
    runs = []
    for number in range(RUNS):
        server = Server(limit=connections, connect=0.001)
        simulation = Simulation(seed * RUNS + number, 1, settings, server)
        runs.append(simulation.run(1.1 * seconds, warm=0.1 * seconds))
    return Played(connections, load, seconds, runs)


def block(found: Found) -> str:
    """Return the tables."""
    tables = (
        _pools(found.pools),
        _ladder(LADDER),
        _ladder(READ_MOSTLY),
        _needs(LADDER[-1]),
        _restarts(found.restarts),
    )
    return "\n\n".join(tables) + "\n"


def digest(tables: str) -> str:
    """Return what tells these tables from others."""
    return f"tables {sha256(tables.encode()).hexdigest()[:16]}"


def _pools(pools: Iterable[Played]) -> str:
    rows = [
        (
            f"{one.connections}",
            f"{100 * one.load:.0f} %",
            f"{1000 * one.wait:.3f} +- {1000 * one.doubt:.3f}",
            f"{1000 * one.expected:.3f}",
            f"{one.waiting:.3f}",
            f"{one.rate * one.wait:.3f}",
        )
        for one in pools
    ]
    columns = (
        *("Connections", "Load", "Mean wait, ms", "Erlang C, ms"),
        *("Waiting on average", "Rate x wait"),
    )
    return _table(columns, rows)


def _ladder(steps: Iterable[Step]) -> str:
    rows = []
    for step in steps:
        most = most_instances(step)
        beyond = Fleet(step, most + 1)
        refused = (play_day(Fleet(step, size), restart=False) for size in SIZES)
        shares = [_percent(day.refused / day.arrived) for day in refused]
        rows.append((step.name, f"{most:,}", beyond.breaks_by, *shares))
    return _table(("Step", "Carries", "Then short of", *(f"{size:,}" for size in SIZES)), rows)


def _needs(step: Step) -> str:
    columns = (
        *("Instances", "Requests/s", "Primaries", "Replicas of each"),
        *("Connections to a server's poolers", "Busy cores of a primary", "Mean wait for one, ms"),
    )
    rows = []
    for size in SIZES:
        fleet = Fleet(step, size)
        busy = fleet.noon * fleet.primary_share / fleet.shards * fleet.service
        rows.append(
            (
                *(f"{size:,}", f"{fleet.noon:,.0f}", f"{fleet.shards:,}", f"{fleet.replicas}"),
                *(f"{fleet.clients:,}", f"{busy:.3g}", _short(1000 * fleet.mean_wait())),
            )
        )
    return _table(columns, rows)


def _restarts(restarts: Iterable[tuple[Fleet, Day]]) -> str:
    rows = [
        (
            f"{fleet.instances:,}",
            fleet.step.name,
            f"{day.lost:.1f} s",
            f"{day.longest + FINE:.1f} s" if day.longest else "0 s",
            f"{day.over:.1f} s",
        )
        for fleet, day in restarts
    ]
    return _table(
        ("Instances", "Step", "Requests refused", "Longest wait", "As before after"), rows
    )


def _percent(share: float) -> str:
    return "0" if share < 5e-7 else f"{100 * share:.3g}"


def _short(number: float) -> str:
    return "< 0.001" if number < 0.001 else f"{number:.2g}"


def _table(columns: Iterable[str], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [tuple(columns), *rows]
    texts = [" | ".join(line) for line in lines]
    rule = " | ".join("---" if number == 0 else "---:" for number in range(len(lines[0])))
    return "\n".join(f"| {text} |" for text in (texts[0], rule, *texts[1:]))
