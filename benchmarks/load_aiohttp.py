"""The load generator where wrk is missing: URL CLIENTS SECONDS METHOD PATH..."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from collections.abc import Iterator
from statistics import median, quantiles

import aiohttp

BODY = b'{"name": "Alice"}'


async def ask(
    session: aiohttp.ClientSession, method: str, paths: Iterator[str], until: float
) -> tuple[list[float], int]:
    """Send one request after the other; give the time of each, and how many failed."""
    posted = {"data": BODY, "headers": {"Content-Type": "application/json"}}
    times, failed = [], 0
    while time.perf_counter() < until:
        started = time.perf_counter()
        try:
            sent = posted if method == "POST" else {}
            async with session.request(method, next(paths), **sent) as answer:  # type: ignore[arg-type]
                await answer.read()
                failed += not answer.ok
        except (aiohttp.ClientError, TimeoutError):
            failed += 1
        times.append(time.perf_counter() - started)
    return times, failed


async def main(url: str, clients: str, seconds: str, method: str, *paths: str) -> None:
    """Load the service and print what was seen as JSON."""
    connector = aiohttp.TCPConnector(limit=int(clients))
    timeout = aiohttp.ClientTimeout(total=10)
    async with aiohttp.ClientSession(url, connector=connector, timeout=timeout) as session:
        turns = itertools.cycle(paths)
        started = time.perf_counter()
        until = started + float(seconds)
        found = await asyncio.gather(
            *(ask(session, method, turns, until) for _ in range(int(clients)))
        )
        took = time.perf_counter() - started
    times = [1000 * time for times, _ in found for time in times]
    result = {
        "requests": len(times),
        "seconds": took,
        "median_ms": median(times),
        "percentile_99_ms": quantiles([*times, times[-1]], n=100)[-1],
        "failed": sum(failed for _, failed in found),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
