"""More workers, and many connections through PgBouncer."""

from __future__ import annotations

from contextlib import ExitStack

import servers
from servers.process import running

from benchmarks.bench import Bench
from benchmarks.candidates import AUTOCOMMIT, BAKED, POOLER, PRE_PING
from benchmarks.database import Data
from benchmarks.load import USERS
from benchmarks.service import Service, check, serving

CLIENTS, MANY_CLIENTS = 32, 128


def workers(bench: Bench, data: Data) -> None:
    """Measure with 1, 2 and 4 workers."""
    for number in bench.scale.workers:
        candidates = (BAKED, PRE_PING, AUTOCOMMIT)
        with serving(candidates, bench.project, data, WEB_CONCURRENCY=number) as services:
            bench.compare("workers", services, USERS, CLIENTS, data, workers=number)


def pgbouncer(bench: Bench, data: Data) -> None:
    """Measure with many pooled connections that PgBouncer maps to few of the server's."""
    assert isinstance(data.server, servers.PostgreSQL)
    number, size = bench.scale.pooler_workers, bench.scale.pooler_connections
    many: dict[str, str | int | float] = {
        "SQLALCHEMY_POOL_SIZE": size,
        "SQLALCHEMY_MAX_OVERFLOW": 0,
        "SQLALCHEMY_EXTERNAL_POOLER": "pgbouncer",
        "WEB_CONCURRENCY": number,
    }
    with ExitStack() as stack:
        pooler = stack.enter_context(
            servers.pgbouncer(data.server, max_client_conn=2000, default_pool_size=20)
        )
        compared = [
            Service(BAKED, bench.project, data.url(), None, WEB_CONCURRENCY=number),
            Service(POOLER, bench.project, pooler.url(data.name), None, **many),
        ]
        for service in compared:
            check(stack.enter_context(running(service)))
        servers.wait_until(lambda: _clients(pooler, data.name) >= number * size)
        bench.compare("pgbouncer", compared, USERS, MANY_CLIENTS, data, workers=number)
        bench.found["pgbouncer"] = {
            "client_connections": _clients(pooler, data.name),
            "server_connections": len(
                [row for row in pooler.show("SERVERS") if row["database"] == data.name]
            ),
        }


def _clients(pooler: servers.PgBouncer, database: str) -> int:
    return len([row for row in pooler.show("CLIENTS") if row["database"] == database])
