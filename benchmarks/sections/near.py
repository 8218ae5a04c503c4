"""Services next to their PostgreSQL."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.candidates import (
    AUTOCOMMIT,
    BAKED,
    BY_HAND,
    DEFAULTS,
    PLAIN_POOL,
    PRE_PING,
    PROTOTYPE,
    UNMEASURED,
    UNPOOLED,
    UNTOUCHED,
)
from benchmarks.database import Data
from benchmarks.load import CREATE, USERS, VIEW
from benchmarks.service import serving

ENGINES = (BAKED, PLAIN_POOL, UNMEASURED, PROTOTYPE, PRE_PING, DEFAULTS, UNPOOLED)
ON_TWO = (BAKED, PROTOTYPE, PRE_PING, DEFAULTS)
READERS = (UNTOUCHED, BY_HAND, AUTOCOMMIT)
WRITERS = (UNTOUCHED, BY_HAND, AUTOCOMMIT, PRE_PING, DEFAULTS, UNPOOLED)


def measure(bench: Bench, data: Data, wanted: set[str]) -> None:
    """Measure the same view with 1 and 2 workers, then the sample's own."""
    if "view" in wanted:
        for workers, candidates in ((1, ENGINES), (2, ON_TWO)):
            with serving(candidates, bench.project, data, WEB_CONCURRENCY=workers) as services:
                bench.compare("view", services, VIEW, main=True)
    if "sample" in wanted:
        with serving(WRITERS, bench.project, data) as services:
            bench.compare("sample", services[: len(READERS)], USERS, main=True)
            bench.compare("sample", services, CREATE)
