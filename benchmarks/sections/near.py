"""Services next to their PostgreSQL: routes, clients and rows."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.candidates import (
    ALL,
    AUTOCOMMIT,
    BAKED,
    BY_HAND,
    DEFAULTS,
    FIXED,
    PRE_PING,
    UNPOOLED,
    Candidate,
)
from benchmarks.database import Data
from benchmarks.load import CREATE, USER, USERS, Route
from benchmarks.service import Service, check_same, serving

CLIENTS = 8
WRITERS = (BAKED, PRE_PING, DEFAULTS, UNPOOLED, BY_HAND, AUTOCOMMIT)
CURVES = (BAKED, PRE_PING, UNPOOLED, AUTOCOMMIT, FIXED)


def measure(bench: Bench, data: Data, wanted: set[str]) -> None:
    """Measure all sections that need the same running services."""
    if not wanted & {"users", "routes", "clients", "rows"}:
        return
    with serving(ALL, bench.project, data) as services:
        if "users" in wanted:
            bench.compare("users", services, USERS, CLIENTS, data, main=True)
        if "routes" in wanted:
            for route in (USER, CREATE):
                bench.compare("routes", among(services, WRITERS), route, CLIENTS, data)
        if "clients" in wanted:
            for clients in bench.scale.clients:
                bench.compare("clients", among(services, CURVES), USERS, clients, data)
        if "rows" in wanted:
            _rows(bench, data, services)


def among(services: list[Service], candidates: tuple[Candidate, ...]) -> list[Service]:
    """Give the services of these candidates."""
    return [service for service in services if service.candidate in candidates]


def _rows(bench: Bench, data: Data, services: list[Service]) -> None:
    for rows in bench.scale.rows:
        data.fill(rows)
        # what follows no limit lists all, which is as many
        route = Route("GET /users?limit=1000", "GET", ("/users?limit=1000",))
        compared = among(services, (BAKED, PRE_PING, AUTOCOMMIT))
        check_same(compared, route.paths[0])
        bench.compare("rows", compared, route, CLIENTS, data, rows=rows)
    data.fill()
