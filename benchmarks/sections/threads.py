"""How many threads serve best, the pool's numbers being those of the defaults."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.candidates import BAKED, PRE_PING
from benchmarks.database import Data
from benchmarks.load import VIEW
from benchmarks.service import serving

from .far import set_delay

BOTH = (BAKED, PRE_PING)


def measure(bench: Bench, data: Data) -> None:
    """Measure each number of threads at each latency."""
    far = [delay for delay in bench.scale.thread_delays if delay]
    near = len(far) < len(bench.scale.thread_delays)
    for threads in bench.scale.threads:
        if near:
            with serving(BOTH, bench.project, data, WEB_THREADS=threads) as services:
                bench.compare("threads", services, VIEW)
        if far:
            with serving(BOTH, bench.project, data, counted=True, WEB_THREADS=threads) as services:
                for delay in far:
                    set_delay(services, delay)
                    bench.compare("threads", services, VIEW)
