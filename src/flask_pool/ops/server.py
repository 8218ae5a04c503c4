"""What a database server reports: its limits, its settings and its address."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import URL, Connection, Engine

POSTGRESQL = text(
    "SELECT (SELECT json_object_agg(name, setting) FROM pg_catalog.pg_settings WHERE name IN"
    " ('max_connections', 'superuser_reserved_connections', 'reserved_connections',"
    " 'idle_session_timeout', 'statement_timeout', 'synchronous_standby_names')) AS settings,"
    " rolsuper, rolconnlimit, datconnlimit, pg_backend_pid() AS pid,"
    " pg_catalog.pg_is_in_recovery() AS standby"
    " FROM pg_catalog.pg_roles, pg_catalog.pg_database"
    " WHERE rolname = current_user AND datname = current_database()"
)
MYSQL = text(
    "SHOW VARIABLES WHERE variable_name IN ('max_connections', 'max_user_connections',"
    " 'wait_timeout', 'max_statement_time', 'max_execution_time', 'read_only')"
)


@dataclass(frozen=True)
class ServerFacts:
    """What a connection tells of its server; None is no limit, times are seconds."""

    name: str
    max_connections: int | None = None
    reserved: int = 0
    role_limit: int | None = None
    database_limit: int | None = None
    idle_timeout: float | None = None
    statement_timeout: float | None = None
    encrypted: bool | None = None  # None: the driver does not tell
    address: str | None = None  # None: the same machine
    superuser: bool = False
    pooler: bool = False
    read_only: bool = False
    synchronous: bool = True  # an acknowledged write is on a standby too

    @property
    def available(self) -> int | None:
        """The most connections that all of this service can have."""
        free = None if self.max_connections is None else self.max_connections - self.reserved
        granted = (free, self.role_limit, self.database_limit)
        return min((limit for limit in granted if limit is not None), default=None)


def ask_server(connection: Connection) -> ServerFacts:
    """Ask the server; what another driver or database can't tell is left out."""
    dialect = connection.dialect
    name = f"{dialect.name} {'.'.join(map(str, (dialect.server_version_info or ())[:2]))}"
    driver: Any = connection.connection.dbapi_connection
    if dialect.name == "postgresql":
        return _postgresql(connection, driver, name)
    if dialect.name in ("mysql", "mariadb"):
        return _mysql(connection, driver, name)
    return ServerFacts(name)


def _postgresql(connection: Connection, driver: Any, name: str) -> ServerFacts:
    row, info = connection.execute(POSTGRESQL).one(), getattr(driver, "info", None)
    found = row.settings
    return ServerFacts(
        name,
        max_connections=int(found["max_connections"]),
        reserved=int(found["superuser_reserved_connections"])
        + int(found.get("reserved_connections", 0)),
        role_limit=None if row.rolconnlimit < 0 else row.rolconnlimit,
        database_limit=None if row.datconnlimit < 0 else row.datconnlimit,
        # milliseconds; PostgreSQL 13 has none
        idle_timeout=int(found.get("idle_session_timeout", 0)) / 1000 or None,
        statement_timeout=int(found["statement_timeout"]) / 1000 or None,
        encrypted=getattr(getattr(driver, "pgconn", info), "ssl_in_use", None),
        address=_remote(getattr(info, "hostaddr", None) or connection.engine.url.host or ""),
        superuser=row.rolsuper,
        # a pooler gives each client a number of its own
        pooler=row.pid != getattr(info, "backend_pid", row.pid),
        read_only=row.standby,
        synchronous=bool(found["synchronous_standby_names"]),
    )


def _mysql(connection: Connection, driver: Any, name: str) -> ServerFacts:
    found: dict[str, str] = {row[0]: row[1] for row in connection.execute(MYSQL)}
    cipher = connection.execute(text("SHOW SESSION STATUS LIKE 'Ssl_cipher'")).one()[1]
    timeout = float(found.get("max_statement_time") or 0)
    return ServerFacts(
        name,
        max_connections=int(found["max_connections"]),
        role_limit=int(found["max_user_connections"]) or None,
        idle_timeout=float(found["wait_timeout"]),
        statement_timeout=timeout or float(found.get("max_execution_time") or 0) / 1000 or None,
        encrypted=bool(cipher),
        address=_remote(str(getattr(driver, "host", None) or connection.engine.url.host or "")),
        read_only=found.get("read_only", "OFF") != "OFF",
    )


def _remote(host: str) -> str | None:
    """Return the address of a host, None if that is this machine."""
    if not host or host.startswith("/"):
        return None
    try:
        address = str(socket.getaddrinfo(host, None)[0][4][0])
    except OSError:
        return host
    return None if ipaddress.ip_address(address.partition("%")[0]).is_loopback else address


# where it is


def hosts(url: URL) -> list[str]:
    """Return each place at which the server may be: host:port, or a socket."""
    names = _listed(url.query.get("host") or url.query.get("unix_socket") or url.host)
    ports = _listed(url.query.get("port") or str(url.port or ""))
    if len(ports) != len(names):
        ports = ports[:1] * len(names)
    return [_written(name, port) for name, port in zip(names, ports, strict=True)]


def place(url: URL) -> str:
    """Return where the database is, without user, password and options."""
    database = f"/{url.database}" if url.database else ""
    return f"{url.get_backend_name()}://{','.join(hosts(url))}{database}"


def on_same_server(engine: Engine, engines: Iterable[Engine]) -> int:
    """Count the engines that share the limits of this one's server."""
    return sum(_identity(engine.url) == _identity(other.url) for other in engines)


def _identity(url: URL) -> tuple[str, frozenset[str]]:
    # several hosts are one cluster, in whatever order they are named
    return url.get_backend_name(), frozenset(hosts(url))


def _listed(given: str | tuple[str, ...] | None) -> list[str]:
    return given.split(",") if isinstance(given, str) else list(given or [""])


def _written(name: str, port: str) -> str:
    host, _, own_port = name.rpartition(":")
    if name.startswith("/") or (own_port.isdigit() and ":" not in host):
        return name
    name = f"[{name}]" if ":" in name else name
    return f"{name}:{port}" if port else name
