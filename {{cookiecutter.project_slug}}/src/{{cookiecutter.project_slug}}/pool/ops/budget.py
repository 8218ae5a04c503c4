"""The budget: the connections that this service can open, and those that the server grants."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flask import Flask
from sqlalchemy import text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

POSTGRESQL = text(
    "SELECT name, setting::bigint FROM pg_catalog.pg_settings WHERE name IN ('max_connections',"
    " 'superuser_reserved_connections', 'reserved_connections', 'idle_session_timeout')"
)
GRANTED = text(
    "SELECT rolconnlimit, datconnlimit FROM pg_catalog.pg_roles, pg_catalog.pg_database"
    " WHERE rolname = current_user AND datname = current_database()"
)
MYSQL = text("SELECT @@max_connections, @@max_user_connections, @@wait_timeout")


@dataclass(frozen=True)
class Limits:
    """What a server grants this service; None is no limit, times are seconds."""

    server: str
    max_connections: int | None = None
    reserved: int = 0
    role_limit: int | None = None
    database_limit: int | None = None
    idle_timeout: float | None = None

    @property
    def available(self) -> int | None:
        """The most connections that all of this service can have."""
        free = None if self.max_connections is None else self.max_connections - self.reserved
        granted = (free, self.role_limit, self.database_limit)
        return min((limit for limit in granted if limit is not None), default=None)


@dataclass(frozen=True)
class Budget:
    """The most connections that this service opens, against the server's limit."""

    instances: int
    workers: int
    capacity: int
    threads: int
    pools: int
    limit: int | None

    @property
    def needed(self) -> int:
        """Connections when every pool of every worker is full."""
        return self.instances * self.workers * self.pools * self.capacity

    @property
    def busy(self) -> int:
        """Connections in use when every thread has one."""
        return self.needed // self.capacity * min(self.threads, self.capacity)

    @property
    def fits(self) -> bool:
        """Tell whether the server grants them all."""
        return self.limit is None or self.needed <= self.limit

    def __str__(self) -> str:
        factors = [
            f"{self.instances} instances" if self.instances > 1 else "",
            f"{self.workers} worker{'s' * (self.workers > 1)}",
            f"{self.pools} pools" if self.pools > 1 else "",
            str(self.capacity),
        ]
        sum_ = f"{self.needed} connections ({' x '.join(filter(None, factors))})"
        return sum_ if self.limit is None else f"{sum_} of {self.limit} that the server grants"


def limits(connection: Connection) -> Limits:
    """Ask the server for its limits."""
    version = ".".join(map(str, (connection.dialect.server_version_info or ())[:2]))
    server = f"{connection.dialect.name} {version}"
    if connection.dialect.name == "postgresql":
        return _postgresql(connection, server)
    if connection.dialect.name in ("mysql", "mariadb"):
        return _mysql(connection, server)
    return Limits(server)


def budget(
    settings: Mapping[str, Any], limits: Limits, instances: int = 1, pools: int = 1
) -> Budget:
    """Count what `instances` of this service open, with `pools` engines on this server."""
    # a pooler has limits of its own, and shares few of the server's connections among many
    behind_pooler = settings.get("SQLALCHEMY_EXTERNAL_POOLER", "none") != "none"
    return Budget(
        instances=instances,
        workers=settings["WEB_CONCURRENCY"],
        capacity=settings["SQLALCHEMY_POOL_SIZE"] + settings["SQLALCHEMY_MAX_OVERFLOW"],
        threads=settings["WEB_THREADS"],
        pools=pools,
        limit=None if behind_pooler else limits.available,
    )


def report(app: Flask) -> Iterator[tuple[int, str]]:
    """Yield what an operator should know at start: logging levels and lines."""
    for name, engine in app.extensions["pool"].engines.items():
        if engine.url.get_backend_name() == "sqlite":
            continue
        try:
            with engine.connect() as connection:
                found = limits(connection)
        except SQLAlchemyError as error:
            yield logging.WARNING, f"pool {name}: no limits known: {type(error).__name__}"
            continue
        plan, recycle = budget(app.config, found), app.config["SQLALCHEMY_POOL_RECYCLE"]
        yield (logging.INFO if plan.fits else logging.WARNING), f"pool {name}: {plan}"
        if plan.threads > plan.capacity:
            yield logging.WARNING, f"{plan.threads} threads share {plan.capacity} connections"
        if found.idle_timeout and not 0 < recycle < found.idle_timeout:
            # harmless, as such a connection is pinged first
            idle = f"the server ends connections idle for {found.idle_timeout:g} s"
            yield logging.INFO, f"pool {name}: {idle}, SQLALCHEMY_POOL_RECYCLE is {recycle}"


def _postgresql(connection: Connection, server: str) -> Limits:
    found: dict[str, int] = {row.name: row.setting for row in connection.execute(POSTGRESQL)}
    role, database = connection.execute(GRANTED).one()
    return Limits(
        server,
        max_connections=found["max_connections"],
        reserved=found["superuser_reserved_connections"] + found.get("reserved_connections", 0),
        role_limit=None if role < 0 else role,
        database_limit=None if database < 0 else database,
        # milliseconds; PostgreSQL 13 has none
        idle_timeout=found.get("idle_session_timeout", 0) / 1000 or None,
    )


def _mysql(connection: Connection, server: str) -> Limits:
    most, user, idle = connection.execute(MYSQL).one()
    return Limits(server, max_connections=most, role_limit=user or None, idle_timeout=float(idle))
