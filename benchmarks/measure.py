"""Services under load in turns, medians of the slices; and round trips, which are counted."""

from __future__ import annotations

import http.client
import json
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from servers import Proxy, find_program

from .project import Project
from .service import Service

CLIENTS = 8
TIMEOUT = 10  # seconds for one answer
REQUESTS = 20  # of which round trips are counted
WARM = 40  # before that: a driver prepares what each of 5 connections has seen 5 times
READ, NOW, WRITE = "GET /same", "GET /now", "POST /same"
USERS, CREATE = "GET /users", "POST /users"
# of these the ratios of each turn are kept
COMPARED = ("requests_per_second", "median_ms", "cpu_ms")


@dataclass(frozen=True)
class Scale:
    """How much is measured: rounds and seconds of the main comparisons, and of the side ones."""

    limit: float  # seconds for everything
    main: tuple[int, int]
    side: tuple[int, int]
    delays: tuple[int, ...]  # milliseconds each way
    repeats: int  # of counts and bakes
    slices: int  # of CPU time
    overload: float  # seconds of each load


FULL = Scale(20 * 60, main=(5, 3), side=(3, 2), delays=(1, 5), repeats=3, slices=15, overload=6)
QUICK = Scale(3 * 60, main=(1, 1), side=(1, 1), delays=(1,), repeats=1, slices=3, overload=1)


@dataclass
class Bench:
    """One run: the project, how much, and what was found."""

    project: Project
    scale: Scale
    started: float = field(default_factory=time.monotonic)
    found: dict[str, Any] = field(default_factory=lambda: {"cells": [], "left_out": []})

    def say(self, what: str) -> None:
        """Tell what comes next."""
        print(f"{time.monotonic() - self.started:4.0f} s  {what}", flush=True)

    def allows(self, what: str, seconds: float = 0) -> bool:
        """Tell whether there is time for something that takes so long; note it if there is not."""
        if time.monotonic() - self.started + seconds <= self.scale.limit:
            return True
        self.found["left_out"].append(what)
        return False

    def compare(
        self, section: str, services: Sequence[Service], route: str, *, main: bool = False
    ) -> None:
        """Measure services in turns; the first one is what ratios refer to."""
        rounds, seconds = self.scale.main if main else self.scale.side
        first = services[0]
        delay = round(1000 * first.proxy.delay_to_server) if first.proxy else 0
        cell: dict[str, Any] = {
            "section": section,
            "database": first.data.kind,
            "route": route,
            "clients": CLIENTS,
            "workers": first.settings["WEB_CONCURRENCY"],
            "delay_ms": delay,
        }
        what = f"{section}: {route}, WEB_CONCURRENCY={cell['workers']}, {delay} ms each way"
        slices: dict[str, list[dict[str, float]]] = {one.candidate.key: [] for one in services}
        for turn in range(rounds):
            # a turn is whole or not at all: ratios are those of one turn
            if not self.allows(what, len(services) * (seconds + 0.5)):
                break
            self.say(f"{what}, round {turn + 1} of {rounds}")
            for service in services[:: -1 if turn % 2 else 1]:
                slices[service.candidate.key].append(under_load(service, route, seconds))
                if route.startswith("POST"):  # every slice begins with the same table
                    first.data.refill()
        base = slices[first.candidate.key]
        if base:
            cell["results"] = [_result(service, slices, base) for service in services]
            self.found["cells"].append(cell)


def under_load(service: Service, route: str, seconds: int) -> dict[str, float]:
    """Keep clients asking, each on a connection that stays open; return what was seen."""
    wrk = find_program("wrk")
    if not wrk:
        raise RuntimeError("wrk, which makes the load, is not installed")
    opened, cpu, switches = service.data.opened(), service.cpu_seconds(), service.switches()
    numbers = ["-t1", f"-c{CLIENTS}", f"-d{seconds}s", f"--timeout={TIMEOUT}s"]
    script, url = str(Path(__file__).with_name("wrk.lua")), f"http://127.0.0.1:{service.port}"
    done = subprocess.run(
        [str(wrk), *numbers, "-s", script, url, "--", *route.split()],
        capture_output=True,
        text=True,
        timeout=seconds + 3 * TIMEOUT,
        check=True,
    )
    seen: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    requests = max(seen.pop("requests"), 1)
    took = seen.pop("seconds")
    return seen | {
        "requests_per_second": (requests - seen["failed"]) / took,
        "cpu_ms": 1000 * (service.cpu_seconds() - cpu) / requests,
        "switches": (service.switches() - switches) / requests,
        "opened_per_second": service.data.opened(since=opened) / took,
    }


def _result(
    service: Service, slices: dict[str, list[dict[str, float]]], base: list[dict[str, float]]
) -> dict[str, Any]:
    own = slices[service.candidate.key]
    ratios = {
        name: [ours[name] / max(theirs[name], 1e-9) for ours, theirs in zip(base, own, strict=True)]
        for name in COMPARED
    }
    return {
        "candidate": service.candidate.key,
        **{name: round(statistics.median(one[name] for one in own), 3) for name in own[0]},
        "failed": sum(one["failed"] for one in own),
        "ratios": {name: round(statistics.median(each), 3) for name, each in ratios.items()},
        "rounds": len(own),
    }


def count(service: Service, repeats: int) -> dict[str, Any]:
    """Count what one client's requests take, one after the other: the same on every machine."""
    counts = {}
    for route in (USERS, CREATE):
        # a busy machine that stalls for a second makes for a ping in one repeat, not in most
        found = [_per_request(service, route) for _ in range(repeats)]
        counts[route] = [statistics.median(column) for column in zip(*found, strict=True)]
    return {"candidate": service.candidate.key, "routes": counts}


def _per_request(service: Service, route: str) -> tuple[float, float]:
    """Return the round trips and the new connections of one request."""
    proxy = service.proxy
    assert proxy is not None
    client = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
    try:
        _ask(client, route, WARM)
        before = _settled(proxy)
        _ask(client, route, REQUESTS)
        after = _settled(proxy)
    finally:
        client.close()
    return (after[0] - before[0]) / REQUESTS, (after[1] - before[1]) / REQUESTS


def _ask(client: http.client.HTTPConnection, route: str, number: int) -> None:
    method, path = route.split()
    body = '{"name": "Alice"}' if method == "POST" else None
    for _ in range(number):
        client.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        answer = client.getresponse()
        answer.read()
        if answer.status not in (200, 201):
            raise RuntimeError(f"{route} was answered with {answer.status}")


def _settled(proxy: Proxy) -> tuple[int, int]:
    """Wait until nothing more comes (nobody answers a connection's goodbye); return the counts."""
    last, same = (-1, -1), 0
    while same < 5:
        time.sleep(0.01)
        now = proxy.round_trips, proxy.connections
        last, same = now, same + 1 if now == last else 0
    return last
