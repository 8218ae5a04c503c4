"""How many connections, threads, workers and instances a load needs, by Erlang's C formula.

`flask pool plan --help` names its source and its assumptions.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from math import ceil, exp, log

BUSY = 0.7  # of a worker's one core: Python runs on one at a time, and queues grow beyond
MOST_THREADS = 100  # of one worker
MOST_LOAD = 2e6  # connections in use on average


@dataclass(frozen=True)
class Queue:
    """A queue in balance. Times are in units of the mean service time."""

    servers: int
    load: float  # servers that are busy on average: arrivals x service time
    waits: float  # the share of requests that wait at all

    def within(self, share: float) -> float:
        """Return the time in which this share of requests is served."""
        if self.waits <= 1 - share:
            return 0.0
        return log(self.waits / (1 - share)) / (self.servers - self.load)

    @property
    def mean_wait(self) -> float:
        """The mean over all requests, those that do not wait too."""
        return self.waits / (self.servers - self.load)


def smallest(load: float, time: float, share: float) -> Queue:
    """Return the queue with the fewest servers where `share` of requests wait at most `time`."""
    # the recurrence of Erlang's B formula holds no factorial and no power, so nothing overflows
    servers, blocked = 0, 1.0
    while True:
        servers += 1
        blocked = load * blocked / (servers + load * blocked)
        if servers <= load:  # the queue would grow for ever
            continue
        waits = blocked / (1 - load / servers * (1 - blocked))
        later = waits * exp(-(servers - load) * time)  # the share that waits longer than that
        if later <= 1 - share:
            return Queue(servers, load, waits)


@dataclass(frozen=True)
class Demand:
    """What the service has to do; times are seconds."""

    rate: float  # requests a second, of all instances
    hold: float  # a request's time with its connection
    python: float  # a request's time in Python, without a connection
    wait: float
    share: float  # of the requests, that wait at most so long

    @property
    def busy(self) -> float:
        """How many requests are served at any time."""
        return self.rate * (self.hold + self.python)

    def queue(self, time: float, parts: int) -> Queue:
        """Return the queue of one of so many parts, where a request stays for this time."""
        return smallest(self.rate * time / parts, self.wait / time, self.share)

    def threads(self, parts: int) -> int:
        """Return how many threads one of so many workers needs."""
        return self.queue(self.hold + self.python, parts).servers


@dataclass(frozen=True)
class Plan:
    """The smallest service that keeps the wait, and what it takes from the server."""

    rate: float
    instances: int
    workers: int  # of each instance
    threads: int  # of each worker, as the pool's numbers
    pool_size: int
    max_overflow: int
    connections: int  # of all
    wait_ms: float  # the asked share of requests waits at most so long
    mean_wait_ms: float
    limit: int | None  # of the server
    fits: bool
    pooled_connections: int  # what a pooler that all share needs at the server
    pooler_fits: bool


def plan(
    demand: Demand, workers: int, instances: int | None = None, limit: int | None = None
) -> Plan:
    """Return the plan with up to `workers` in each instance."""
    needed = fewest_workers(demand)
    if instances is None:
        instances = ceil(needed / workers)
        workers = min(workers, needed)
    else:
        workers = max(1, ceil(needed / instances))
    queue = demand.queue(demand.hold, instances * workers)
    # no more threads than connections: each that the pool does not keep is overflow
    threads = max(queue.servers, demand.threads(instances * workers))
    connections = instances * workers * threads
    pooled = demand.queue(demand.hold, 1).servers
    return Plan(
        rate=demand.rate,
        instances=instances,
        workers=workers,
        threads=threads,
        pool_size=queue.servers,
        max_overflow=threads - queue.servers,
        connections=connections,
        wait_ms=1000 * demand.hold * queue.within(demand.share),
        mean_wait_ms=1000 * demand.hold * queue.mean_wait,
        limit=limit,
        fits=limit is None or connections <= limit,
        pooled_connections=pooled,
        pooler_fits=limit is None or pooled <= limit,
    )


def fewest_workers(demand: Demand) -> int:
    """Return how many workers have the cores and the threads for the load."""
    least = ceil(max(1, demand.rate * demand.python / BUSY, demand.busy / MOST_THREADS))
    more = range(least * MOST_THREADS)
    return least + bisect_left(
        more, True, key=lambda more: demand.threads(least + more) <= MOST_THREADS
    )
