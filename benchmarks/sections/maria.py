"""The same on MariaDB."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.candidates import BAKED, DEFAULTS, PRE_PING, UNPOOLED
from benchmarks.counting import count
from benchmarks.database import on_mariadb
from benchmarks.load import CREATE, USERS
from benchmarks.service import serving

CANDIDATES = (BAKED, PRE_PING, DEFAULTS, UNPOOLED)
CLIENTS = 8


def measure(bench: Bench) -> None:
    """Measure reading and writing, then count."""
    with on_mariadb(bench.project) as data:
        bench.found["mariadb_version"] = data.version()
        with serving(CANDIDATES, bench.project, data) as services:
            for route in (USERS, CREATE):
                bench.compare("mariadb", services, route, CLIENTS, data)
        with serving(CANDIDATES, bench.project, data, counted=True) as services:
            bench.found["mariadb_counts"] = [count(service) for service in services]
