"""The same on MariaDB."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.candidates import BAKED, DEFAULTS, PRE_PING, UNPOOLED, UNTOUCHED
from benchmarks.counting import count
from benchmarks.database import on_mariadb
from benchmarks.load import CREATE, VIEW
from benchmarks.service import serving

ENGINES = (BAKED, PRE_PING, DEFAULTS, UNPOOLED)
COUNTED = (UNTOUCHED, PRE_PING, DEFAULTS, UNPOOLED)


def measure(bench: Bench) -> None:
    """Measure reading and writing, and count."""
    with on_mariadb(bench.project) as data:
        bench.found["mariadb_version"] = data.version()
        with serving(COUNTED, bench.project, data, counted=True) as services:
            bench.found["mariadb_counts"] = [
                count(service, bench.scale.repeats) for service in services
            ]
        data.refill()
        with serving(ENGINES, bench.project, data) as services:
            bench.compare("mariadb", services, VIEW)
            bench.compare("mariadb", services, CREATE)
