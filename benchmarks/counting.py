"""Round trips and connections of one request: counted, so the same on every machine."""

from __future__ import annotations

import http.client
import statistics
import time

from servers import Proxy

from .load import CREATE, USER, USERS, Route
from .measure import Result
from .service import Service

REQUESTS = 20


def count(service: Service, repeats: int) -> Result:
    """Count for each route what one client's requests take, one after the other."""
    counts = {route.name: _median(service, route, repeats) for route in (USERS, USER, CREATE)}
    return {"candidate": service.candidate.key, "routes": counts}


def _median(service: Service, route: Route, repeats: int) -> dict[str, float]:
    # a busy machine that stalls for a second makes for a ping in one repeat, not in most
    found = [_per_request(service, route) for _ in range(repeats)]
    return {
        name: statistics.median(counts[name] for counts in found)
        for name in ("round_trips", "connections")
    }


def _per_request(service: Service, route: Route) -> dict[str, float]:
    proxy = service.proxy
    assert proxy is not None
    client = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
    try:
        _ask(client, route, 10)  # a driver may prepare what it has seen a few times
        settled(proxy)
        before = proxy.round_trips, proxy.connections
        _ask(client, route, REQUESTS)
        settled(proxy)
        return {
            "round_trips": (proxy.round_trips - before[0]) / REQUESTS,
            "connections": (proxy.connections - before[1]) / REQUESTS,
        }
    finally:
        client.close()


def _ask(client: http.client.HTTPConnection, route: Route, number: int) -> None:
    body = '{"name": "Alice"}' if route.method == "POST" else None
    headers = {"Content-Type": "application/json"} if body else {}
    for index in range(number):
        client.request(route.method, route.paths[index % len(route.paths)], body, headers)
        answer = client.getresponse()
        answer.read()
        if answer.status not in (200, 201):
            raise RuntimeError(f"{route.name} was answered with {answer.status}")


def settled(proxy: Proxy) -> None:
    """Wait until nothing more comes: nobody answers the goodbye of a connection."""
    last, same = (-1, -1), 0
    while same < 5:
        time.sleep(0.01)
        now = proxy.round_trips, proxy.connections
        last, same = now, same + 1 if now == last else 0
