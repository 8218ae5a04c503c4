"""Load on a service: from wrk where it is, else from aiohttp in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from servers import find_program

HERE = Path(__file__).parent
PATIENCE = 10  # seconds for one answer


@dataclass(frozen=True)
class Route:
    """What is asked for: a method, and paths that take turns."""

    name: str
    method: str
    paths: tuple[str, ...]


VIEW = Route("GET /same", "GET", ("/same",))
USERS = Route("GET /users", "GET", ("/users",))
USER = Route("GET /users/<id>", "GET", tuple(f"/users/{number}" for number in range(1, 11)))
CREATE = Route("POST /users", "POST", ("/users",))


@dataclass(frozen=True)
class Load:
    """What a load generator saw."""

    requests: int
    seconds: float
    median_ms: float
    percentile_99_ms: float
    failed: int


def load(port: int, route: Route, clients: int, seconds: int) -> Load:
    """Keep this many clients asking for so long, each on a connection that stays open."""
    done = subprocess.run(
        command(port, route, clients, seconds),
        capture_output=True,
        text=True,
        timeout=seconds + 3 * PATIENCE,
        check=True,
    )
    return Load(**json.loads(done.stdout.splitlines()[-1]))


def command(port: int, route: Route, clients: int, seconds: int) -> list[str]:
    """Give the command line of the load generator; its last line is JSON."""
    url = f"http://127.0.0.1:{port}"
    if not generator():
        asked = [url, str(clients), str(seconds), route.method, *route.paths]
        return [sys.executable, str(HERE / "load_aiohttp.py"), *asked]
    numbers = ["-t1", f"-c{clients}", f"-d{seconds}s", f"--timeout={PATIENCE}s"]
    return [
        generator(),
        *numbers,
        "-s",
        str(HERE / "wrk.lua"),
        url,
        "--",
        route.method,
        *route.paths,
    ]


def generator() -> str:
    """Give the path of wrk, or nothing where it is not installed."""
    return str(find_program("wrk") or "")
