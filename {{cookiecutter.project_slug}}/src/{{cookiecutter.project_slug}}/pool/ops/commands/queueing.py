"""Waiting lines: the M/M/c queue, whose probability of waiting is Erlang's C formula.

Requests come at random (Poisson), are served for an exponentially distributed time by one of c
servers, and wait in order. A. K. Erlang, 1917; in today's words D. Gross and others, "Fundamentals
of Queueing Theory", 4th edition (2008), section 2.3. Service times that vary less, as most
queries' do, wait less than this.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log


@dataclass(frozen=True)
class Queue:
    """A queue in balance. Times are in units of the mean service time."""

    servers: int
    load: float  # servers that are busy on average: arrivals x service time
    waits: float  # the share of requests that wait at all

    def later_than(self, time: float) -> float:
        """Return the share of requests that wait longer."""
        return self.waits * exp(-(self.servers - self.load) * time)

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
        if servers <= load:  # the line would grow for ever
            continue
        queue = Queue(servers, load, blocked / (1 - load / servers * (1 - blocked)))
        if queue.later_than(time) <= 1 - share:
            return queue
