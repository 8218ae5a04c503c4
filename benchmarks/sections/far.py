"""Services whose way to the database is counted, and made longer."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.candidates import AUTOCOMMIT, BAKED, BY_HAND, DEFAULTS, PRE_PING, UNPOOLED
from benchmarks.counting import count
from benchmarks.database import Data
from benchmarks.load import CREATE, USERS
from benchmarks.service import Service, serving

CLIENTS = 8
DATABASE_USERS = (BAKED, PRE_PING, DEFAULTS, UNPOOLED, BY_HAND, AUTOCOMMIT)


def measure(bench: Bench, data: Data, wanted: set[str]) -> None:
    """Count what a request costs, then measure over a slower network."""
    if not wanted & {"counts", "latency"}:
        return
    with serving(DATABASE_USERS, bench.project, data, counted=True) as services:
        if "counts" in wanted and bench.clock.allows("counts"):
            bench.say("counts")
            bench.found["counts"] = [count(service) for service in services]
            data.refill()
        if "latency" in wanted:
            for delay in bench.scale.delays:
                set_delay(services, delay)
                # writing once, where it shows most
                routes = (USERS, CREATE) if delay == bench.scale.delays[-1] else (USERS,)
                for route in routes:
                    bench.compare("latency", services, route, CLIENTS, data, delay_ms=delay)
            set_delay(services, 0)


def set_delay(services: list[Service], milliseconds: float) -> None:
    """Put this much time into each direction of each service's way to its database."""
    for service in services:
        if service.proxy:
            service.proxy.delay_to_server = service.proxy.delay_to_client = milliseconds / 1000
