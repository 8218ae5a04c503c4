"""What one connection tells about its server, and about PgBouncer in between."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError

from ...extension import Pools
from ..limits import Limits, limits

POSTGRESQL = text(
    "SELECT pg_backend_pid() AS pid, rolsuper, (SELECT setting::float / 1000"
    " FROM pg_catalog.pg_settings WHERE name = 'statement_timeout') AS statement_timeout"
    " FROM pg_catalog.pg_roles WHERE rolname = current_user"
)
MYSQL = text("SHOW VARIABLES WHERE variable_name IN ('max_statement_time', 'max_execution_time')")
CONSOLE = "pgbouncer"  # the database that is PgBouncer's admin console


@dataclass(frozen=True)
class Session:
    """What the service gets when it connects as it is configured; times are seconds."""

    limits: Limits
    encrypted: bool = False
    address: str | None = None  # None: the same machine
    statement_timeout: float | None = None  # None: no limit
    superuser: bool = False
    pooler: bool = False
    refused: bool = False  # the pooler did not take the options of a direct connection


@dataclass(frozen=True)
class Pooler:
    """What PgBouncer's admin console says about the database."""

    mode: str
    server_connections: int
    max_client_connections: int


def look(name: str, pools: Pools) -> Session:
    """Connect as the service does, and look around."""
    with _connect(name, pools) as (connection, refused):
        granted = limits(connection)
        driver: Any = connection.connection.dbapi_connection
        if connection.dialect.name == "postgresql":
            row = connection.execute(POSTGRESQL).one()
            return Session(
                granted,
                encrypted=driver.pgconn.ssl_in_use,
                address=remote(driver.info.hostaddr),
                statement_timeout=row.statement_timeout or None,
                superuser=row.rolsuper,
                # a pooler gives each client a number of its own
                pooler=row.pid != driver.info.backend_pid,
                refused=refused,
            )
        if connection.dialect.name in ("mysql", "mariadb"):
            return _mysql(connection, granted, str(driver.host))
        return Session(granted)


def ask_console(engine: Engine, timeout: float) -> Pooler | None:
    """Ask PgBouncer's admin console; None where that is not allowed."""
    import psycopg  # a driver may be missing
    from psycopg.rows import dict_row

    place = engine.url.set(database=CONSOLE).difference_update_query(["options"])
    _, arguments = engine.dialect.create_connect_args(place)
    arguments["connect_timeout"] = max(2, int(timeout))
    try:
        with psycopg.connect(**arguments, autocommit=True, row_factory=dict_row) as console:
            config = {row["key"]: row["value"] for row in console.execute("SHOW CONFIG")}
            databases = {row["name"]: row for row in console.execute("SHOW DATABASES")}
    except (psycopg.Error, LookupError):
        return None
    row = databases.get(engine.url.database, {})
    sizes = [int(row.get("pool_size") or config["default_pool_size"])]
    sizes += [int(config[name]) for name in ("max_db_connections", "max_user_connections")]
    return Pooler(
        mode=row.get("pool_mode") or config["pool_mode"],
        server_connections=min(size for size in sizes if size),
        max_client_connections=int(config["max_client_conn"]),
    )


@contextlib.contextmanager
def _connect(name: str, pools: Pools) -> Iterator[tuple[Connection, bool]]:
    """Connect as configured, or as behind PgBouncer if that refuses the options."""
    try:
        connection, refused = pools.unpooled(name).connect(), False
    except DBAPIError as error:
        if "startup parameter" not in str(error.orig):
            raise
        arguments = dict(pools.options[name]["connect_args"], prepare_threshold=None)
        arguments.pop("options", None)
        connection, refused = pools.unpooled(name, connect_args=arguments).connect(), True
    with connection:
        yield connection, refused


def _mysql(connection: Connection, granted: Limits, host: str) -> Session:
    variables: dict[str, str] = {row[0]: row[1] for row in connection.execute(MYSQL)}
    cipher = connection.execute(text("SHOW SESSION STATUS LIKE 'Ssl_cipher'")).one()[1]
    timeout = float(variables.get("max_statement_time") or 0)
    timeout = timeout or float(variables.get("max_execution_time") or 0) / 1000
    return Session(
        granted, encrypted=bool(cipher), address=remote(host), statement_timeout=timeout or None
    )


def remote(host: str) -> str | None:
    """Return the address of a host, None if that is this machine."""
    if not host or host.startswith("/"):
        return None
    try:
        address = str(socket.getaddrinfo(host, None)[0][4][0])
    except OSError:
        return host
    return None if ipaddress.ip_address(address.partition("%")[0]).is_loopback else address
