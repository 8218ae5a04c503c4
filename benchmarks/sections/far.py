"""Services whose way to the database is counted, and made longer."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.bench import Bench
from benchmarks.candidates import (
    AUTOCOMMIT,
    BAKED,
    BY_HAND,
    DEFAULTS,
    PRE_PING,
    PROTOTYPE,
    UNPOOLED,
    UNTOUCHED,
)
from benchmarks.counting import count
from benchmarks.database import Data
from benchmarks.load import CREATE, USERS, VIEW
from benchmarks.service import Service, serving

ENGINES = (BAKED, PROTOTYPE, PRE_PING, DEFAULTS, UNPOOLED)
READERS = (UNTOUCHED, BY_HAND, AUTOCOMMIT)
COUNTED = (UNTOUCHED, BY_HAND, AUTOCOMMIT, PRE_PING, DEFAULTS, UNPOOLED)


def measure(bench: Bench, data: Data, wanted: set[str]) -> None:
    """Measure over a slower network, and count what a request costs."""
    if "latency" in wanted:
        with serving(ENGINES, bench.project, data, counted=True) as services:
            for delay in bench.scale.delays:
                set_delay(services, delay)
                bench.compare("latency", services, VIEW)
            set_delay(services, 1)
            one = [each for each in services if each.candidate in (BAKED, PRE_PING)]
            bench.compare("latency", one, VIEW, clients=1)
    if wanted & {"counts", "latency"}:
        with serving(COUNTED, bench.project, data, counted=True) as services:
            if "counts" in wanted and bench.clock.allows("counts"):
                bench.say("counts")
                bench.found["counts"] = [
                    count(service, bench.scale.repeats) for service in services
                ]
                data.refill()
            if "latency" in wanted:
                for delay in bench.scale.delays:
                    set_delay(services, delay)
                    bench.compare("latency", services[: len(READERS)], USERS)
                # writing once, where it shows most
                bench.compare("latency", services[: len(READERS) + 1], CREATE)


def set_delay(services: Sequence[Service], milliseconds: float) -> None:
    """Put this much time into each direction of each service's way to its database."""
    for service in services:
        if service.proxy:
            service.proxy.delay_to_server = service.proxy.delay_to_client = milliseconds / 1000
