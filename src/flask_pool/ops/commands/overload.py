"""The service past its capacity: under gunicorn, with clients that do not wait for each other."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from random import expovariate
from statistics import quantiles
from time import monotonic
from typing import Any

import click
from flask.cli import ScriptInfo

FACTOR = 3  # times what can be served
MOST = 1000  # clients a second that this process can be
LEAVES = 2.0  # seconds after which a client leaves
PROBE = "/healthz/live"


def past_capacity(path: str, threads: int, seconds: float) -> dict[str, Any] | None:
    """Return what a worker serves, and what it does at FACTOR times that; None if it can't run."""
    script = click.get_current_context().find_object(ScriptInfo)
    app = script.app_import_path if script else None
    if not app:
        return None
    with _serving(app, threads) as port:
        return asyncio.run(_load(port, path, threads, seconds)) if port else None


def sentence(found: dict[str, Any]) -> str:
    """Say in a line what was found."""
    return (
        "Past its capacity: one worker under gunicorn serves {capacity:,.0f}/s. Of {offered:,.0f}/s"
        " it answers {answered:,.0f}/s in time (99 % within {percentile_99_ms:,.0f} ms), refuses"
        " {refused:,.0f}/s; {left} clients left."
    ).format(**found)


@contextmanager
def _serving(app: str, threads: int) -> Iterator[int | None]:
    """Run the service under gunicorn; yield its port, None if it does not start."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--workers", "1",
        "--threads", str(threads), "--worker-class", "flask_pool.gunicorn.Worker",
        "--log-level", "error", "flask_pool.gunicorn:application()",
    ]  # fmt: skip
    process = subprocess.Popen(
        command, env=os.environ | {"FLASK_APP": app}, stderr=subprocess.DEVNULL
    )
    try:
        yield port if asyncio.run(_starts(process, port)) else None
    finally:
        process.terminate()
        process.wait()


async def _starts(process: subprocess.Popen[bytes], port: int) -> bool:
    for _ in range(100):
        if process.poll() is not None:
            return False
        if await _ask(port, PROBE) is not None:
            return True
        await asyncio.sleep(0.1)
    return False


async def _load(port: int, path: str, threads: int, seconds: float) -> dict[str, Any]:
    served = 0

    async def again(until: float) -> None:
        nonlocal served
        while monotonic() < until:
            status = await _ask(port, path)
            served += status == 200

    await asyncio.gather(*[again(monotonic() + seconds / 3) for _ in range(threads)])
    capacity = served / (seconds / 3)
    offered = min(MOST, FACTOR * max(capacity, 1))
    statuses: Counter[int | None] = Counter()
    times = []

    async def once() -> None:
        began = monotonic()
        status = await _ask(port, path)
        statuses[status] += 1
        if status == 200:
            times.append(monotonic() - began)

    clients, began = [], monotonic()
    due = began
    while (due := due + expovariate(offered)) < began + seconds:
        await asyncio.sleep(max(0, due - monotonic()))
        clients.append(asyncio.create_task(once()))
    await asyncio.gather(*clients)
    return {
        "capacity": round(capacity, 1),
        "offered": round(len(clients) / seconds, 1),
        "answered": round(statuses[200] / seconds, 1),
        "refused": round(statuses[503] / seconds, 1),
        "left": statuses[None],
        "percentile_99_ms": round(1000 * quantiles([*times, 0, 0], n=100)[-1], 1),
    }


async def _ask(port: int, path: str) -> int | None:
    """Send a GET on a connection of its own; return the status, None for no answer in time."""
    with suppress(OSError, TimeoutError, ValueError, IndexError):
        async with asyncio.timeout(LEAVES):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
                writer.write(head.encode())
                answer = await reader.read()
                return int(answer.split(b" ", 2)[1])
            finally:
                writer.close()
    return None
