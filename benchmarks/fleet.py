"""1 to 1,000,000 instances in front of a database, simulated (docs/scale.md); times in seconds."""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import heapreplace
from math import ceil, cos, inf, pi, sqrt
from pathlib import Path
from random import Random
from statistics import mean, stdev

PATIENCE = 2.0  # a client leaves after that
WORKERS, POOL_SIZE = 2, 5  # of an instance, as a project is baked
RATE, WRITES = 10.0, 0.1  # requests a second of an instance at noon; share of writes
READ, WRITE = 0.001, 0.002  # of a core, that each takes of its server
# of a server; superuser_reserved_connections; share of the cores that servers are chosen for
CORES, RESERVED, BUSY = 48, 3, 0.7
CONNECT = 0.00066  # of the one process that accepts connections; measured
# a PgBouncer process: transactions/s, max_client_conn; server connections of all before a server
TRANSACTIONS, CLIENTS, BACKENDS = 33_000, 10_000, 200
INSTANCES_A_NODE, NODE_CONNECTIONS = 20, 10
DAY, NOON, OUTAGE = 86_400.0, 43_200.0, 10.0
COARSE, FINE, WINDOW = 30.0, 0.1, 240.0  # a moment; a fine one, for so long around the restart
# mean time that a played request has its connection; connections, their load, requests of a run
HOLD = 0.010
POOLS = ((5, 0.5, 20_000), (5, 0.8, 20_000), (5, 0.9, 30_000), (100, 0.9, 30_000))
RUNS, STUDENT = 10, 2.262  # independent runs; Student's t of 95 % with 9 degrees of freedom
SIZES = (1, 10, 100, 1_000, 10_000, 100_000, 1_000_000)


def mean_wait(servers: int, load: float, service: float) -> float:
    """Return the mean wait of an M/M/c queue with this load in erlangs, by Erlang's C formula."""
    blocked = 1.0  # Erlang B by its recurrence, which holds no factorial
    for number in range(1, servers + 1):
        blocked = load * blocked / (number + load * blocked)
    return blocked / (1 - load / servers * (1 - blocked)) * service / (servers - load)


def play_pool(seed: int, connections: int, load: float, requests: int) -> float:
    """Return the mean wait of a pool that is played, first come first served."""
    random, now, waits = Random(seed), 0.0, []
    free = [0.0] * connections  # a heap: when each is free again
    for number in range(requests):
        now += random.expovariate(load * connections / HOLD)
        if (wait := max(0.0, free[0] - now)) > PATIENCE:
            continue
        heapreplace(free, now + wait + random.expovariate(1 / HOLD))
        if number >= requests / 10:
            waits.append(wait)
    return mean(waits)


@dataclass(frozen=True)
class Step:
    """What a fleet has by then; each step keeps what the ones before it brought."""

    name: str
    max_connections: int = 1000  # of PostgreSQL
    poolers: int = 0  # PgBouncer processes in front of each server
    replicas: int = 0  # of a primary, at most
    node_poolers: bool = False
    shards: int = 1  # at most
    login_retry: float = 1.0  # PgBouncer's server_login_retry


LADDER = (
    Step("PostgreSQL as installed", max_connections=100),
    Step("max_connections = 1000"),
    Step("max_connections = 5000", max_connections=5000),
    Step("one PgBouncer", poolers=1),
    Step("8 PgBouncers, so_reuseport", poolers=8),
    Step("replicas, up to 50", poolers=8, replicas=50),
    Step("a pooler per node", poolers=8, replicas=50, node_poolers=True),
    Step("shards", poolers=64, replicas=50, node_poolers=True, shards=10_000),
)
RESTARTS = (
    (450, LADDER[2]),
    (4_000, Step("direct, were 100,000 granted", max_connections=100_000)),
    (4_000, Step("8 PgBouncers, server_login_retry 15", poolers=8, login_retry=15.0)),
    (4_000, Step("8 PgBouncers, server_login_retry 1", poolers=8)),
    (10_000, LADDER[6]),
    (100_000, LADDER[7]),
)


class Fleet:
    """So many instances on one step of the ladder."""

    def __init__(self, step: Step, instances: int) -> None:
        self.step, self.instances = step, instances
        self.noon = instances * RATE
        # as many as noon needs; no replica: the primary reads too
        self.shards = min(step.shards, ceil(self.noon * WRITES * WRITE / (CORES * BUSY)))
        read_cores = self.noon * (1 - WRITES) * READ / self.shards
        self.replicas = min(step.replicas, ceil(read_cores / (CORES * BUSY)))
        self.entries = instances * WORKERS * POOL_SIZE  # that pools keep open
        nodes = ceil(instances / INSTANCES_A_NODE)
        self.clients = nodes * NODE_CONNECTIONS if step.node_poolers else self.entries
        self.granted = step.poolers * CLIENTS or step.max_connections - RESERVED
        self.connected = min(1.0, self.granted / self.clients)
        reads = 0 if self.replicas else 1 - WRITES
        self.primary_share = WRITES + reads  # of the requests
        self.service = (WRITES * WRITE + reads * READ) / self.primary_share

    def limits(self) -> dict[str, float]:
        """Return how many instances each part of the fleet carries at noon."""
        each = 1 / self.instances
        primary = self.primary_share * self.noon * each / self.shards
        reads = (1 - WRITES) * self.noon * each / self.shards
        return {
            "connections": self.granted / (self.clients * each),
            "primary": CORES / (primary * self.service),
            "poolers": self.step.poolers * TRANSACTIONS / primary or inf,
            "replicas": self.replicas * CORES / READ / reads or inf,
        }


def most_instances(step: Step) -> int:
    """Return how many instances a step carries: nothing is asked for more than it has."""
    low, high = 1, 10_000_000
    while low < high:
        middle = (low + high + 1) // 2
        carries = min(Fleet(step, middle).limits().values()) > middle * (1 - 1e-9)
        low, high = (middle, high) if carries else (low, middle - 1)
    return low


class Line:
    """Requests in line: those that came together are served in order, or their clients leave."""

    def __init__(self) -> None:
        self.served = self.left = self.waiting = 0.0
        self.cohorts: deque[list[float]] = deque()

    def advance(self, now: float, seconds: float, came: float, most: float) -> None:
        """Let these come, those who waited too long leave, and `most` be served."""
        if came:
            self.cohorts.append([now, came])
        while self.cohorts and now - self.cohorts[0][0] > max(PATIENCE, seconds) + 1e-6:
            self.left += self.cohorts.popleft()[1]
        while self.cohorts and most > 0:
            part = min(self.cohorts[0][1], most)
            self.cohorts[0][1] -= part
            most -= part
            self.served += part
            if not self.cohorts[0][1]:
                self.cohorts.popleft()
        self.waiting = sum(many for _, many in self.cohorts)


class Primary:
    """The primary that restarts, and what of its connections is open."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.line, self.asked = Line(), Line()  # for a core, and to be accepted
        direct, retry = min(fleet.entries, fleet.granted), fleet.step.login_retry
        self.open = self.most = float(BACKENDS if fleet.step.poolers else direct)
        self.back = NOON + ceil(OUTAGE / retry) * retry  # when a pooler tries again

    def advance(self, now: float, seconds: float, came: float, most: float, away: bool) -> float:
        """Let these come, of which `most` can be served; return how many are refused at once."""
        if self.fleet.step.poolers:
            if away or (NOON <= now < self.back and self.open < self.most):
                self.open, most = 0.0, 0.0
            else:
                self.open = min(self.most, self.open + seconds / CONNECT)
                most = min(most, self.open / self.fleet.service * seconds)
            self.line.advance(now, seconds, came * self.fleet.connected, most)
            return came * (1 - self.fleet.connected)
        accepted = -self.asked.served
        if away:  # nobody listens, and what was open is gone
            self.open = alive = asked = 0.0
        else:
            # a pool hands out first in first out: as many dead ones as there are among the idle
            idle = self.fleet.entries - self.asked.waiting
            alive = min(1.0, self.open / idle) if idle > 0 else 0.0
            grants = self.most - self.open - self.asked.waiting
            asked = max(0.0, min(came * (1 - alive), grants, idle))
            self.asked.advance(now, seconds, asked, seconds / CONNECT)
        accepted += self.asked.served
        self.open += accepted
        self.line.advance(now, seconds, came * alive + accepted, most)
        return came * (1 - alive) - asked


class Day:
    """What came of a day's requests."""

    arrived = served = refused = left = waiting = 0.0
    restart = (0.0, 0.0)  # refused and left around noon, in seconds of load
    over = 0.0  # seconds until requests are served as before: hardly any is lost, none waits


def moments(*, fine: bool) -> Iterator[tuple[float, float, float]]:
    """Yield each moment of a day, its seconds, and the share of noon's load: 0.2 at midnight."""
    for number in range(round(DAY / COARSE)):
        start = number * COARSE
        parts = round(COARSE / FINE) if fine and -WINDOW <= start - NOON < WINDOW else 1
        for part in range(parts):
            now = start + part * COARSE / parts
            yield now, COARSE / parts, 0.6 - 0.4 * cos(2 * pi * now / DAY)


def play(fleet: Fleet, *, restart: bool) -> Day:
    """Return what came of a day, with one primary restarting at noon if asked."""
    day, primary = Day(), Primary(fleet)
    others, readers = Line(), Line()
    poolers = fleet.step.poolers * TRANSACTIONS or inf
    most = min(poolers, CORES / fleet.service)  # a second, of one primary
    most_reads = min(poolers, CORES / READ) * fleet.replicas * fleet.shards
    part, rest = fleet.primary_share / fleet.shards, fleet.shards - 1
    lines = (primary.line, primary.asked, others, readers)
    for now, seconds, share in moments(fine=restart):
        refused, left = day.refused, day.left
        came = fleet.noon * share * seconds
        day.arrived += came
        away = restart and NOON <= now < NOON + OUTAGE
        day.refused += primary.advance(now, seconds, came * part, most * seconds, away)
        connected = came * fleet.connected
        day.refused += (came - connected) * (1 - part)
        # who waits for the primary keeps a thread; with none left the others wait too
        free = seconds if primary.line.waiting < fleet.entries else 0.0
        others.advance(now, seconds, connected * part * rest, most * rest * free)
        readers.advance(now, seconds, connected * (1 - fleet.primary_share), most_reads * free)
        day.left = sum(line.left for line in lines)
        if restart and abs(now - NOON) < WINDOW:
            refused, left = (day.refused - refused) / came, (day.left - left) / came
            day.restart = (day.restart[0] + refused * FINE, day.restart[1] + left * FINE)
            age = max(now - line.cohorts[0][0] if line.cohorts else 0.0 for line in lines)
            if refused + left > 0.001 or age > 2 * FINE:
                day.over = now - NOON + FINE
    day.served = primary.line.served + others.served + readers.served
    day.waiting = sum(line.waiting for line in lines)
    return day


def lost(fleet: Fleet) -> float:
    """Return the share of a day's requests that are not served."""
    return ((day := play(fleet, restart=False)).refused + day.left) / day.arrived


def tables(seed: int) -> str:
    """Return the tables of docs/scale.md."""
    rows = []
    for connections, load, requests in POOLS:
        seeds = range(seed * RUNS, (seed + 1) * RUNS)
        waits = [1000 * play_pool(one, connections, load, requests) for one in seeds]
        found = f"{mean(waits):.3f} +- {STUDENT * stdev(waits) / sqrt(RUNS):.3f}"
        expected = 1000 * mean_wait(connections, load * connections, HOLD)
        rows.append(f"{connections} | {100 * load:.0f} % | {found} | {expected:.3f}")
    pools = _table("Connections | Load | Mean wait, ms | Erlang C, ms", rows)
    return f"{pools}\n{_ladder()}\n{_restarts()}"


def _ladder() -> str:
    rows = []
    for step in LADDER:
        most = most_instances(step)
        limits = Fleet(step, most + 1).limits()
        shares = (lost(Fleet(step, size)) for size in SIZES)
        shown = " | ".join("0" if share < 5e-7 else f"{100 * share:.3g}" for share in shares)
        rows.append(f"{step.name} | {most:,} | {min(limits, key=limits.__getitem__)} | {shown}")
    return _table(f"Step | Carries | Then short of | {' | '.join(f'{n:,}' for n in SIZES)}", rows)


def _restarts() -> str:
    rows = []
    for instances, step in RESTARTS:
        day = play(Fleet(step, instances), restart=True)
        times = " | ".join(f"{seconds:.1f} s" for seconds in (*day.restart, day.over))
        rows.append(f"{instances:,} | {step.name} | {times}")
    return _table("Instances | Step | Refused | Clients that left | As before after", rows)


def _table(head: str, rows: Iterable[str]) -> str:
    rule = " | ".join(["---", *["---:"] * head.count(" | ")])
    return "".join(f"| {row} |\n" for row in (head, rule, *rows))


def main() -> None:
    """Play, print the tables, and draw the picture if asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="another one plays other requests")
    parser.add_argument("--out", type=Path, metavar="FILE", help="draw into this SVG or PNG")
    asked = parser.parse_args()
    print(tables(asked.seed), end="")
    if asked.out:
        from .plot import draw_fleet  # noqa: PLC0415  # the tables do without matplotlib

        draw_fleet(asked.out)


if __name__ == "__main__":
    main()
