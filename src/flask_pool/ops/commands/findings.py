"""What can be wrong between a service and its database server."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import URL

from ...options import is_memory
from ..budget import Budget
from ..server import ServerFacts, hosts
from .pgbouncer import Pooler

ERROR, WARNING, INFO = SEVERITIES = ("error", "warning", "info")


@dataclass(frozen=True)
class Finding:
    """What is wrong, and what to do."""

    severity: str
    name: str
    message: str
    advice: str


@dataclass(frozen=True)
class Subject:
    """One database of the service, as it was found."""

    url: URL
    settings: Mapping[str, Any]
    budget: Budget
    server: ServerFacts
    pooler: Pooler | None
    lost: tuple[tuple[str, str], ...] = ()  # promises that are not kept, and why
    replicas: int = 0  # of this primary
    late: float | None = None  # seconds that this replica needed for what its primary had

    @property
    def family(self) -> str:
        """The kind of database."""
        return self.url.get_backend_name()

    @property
    def behind_pooler(self) -> bool:
        """Tell whether the settings say that PgBouncer stands in between."""
        return bool(self.settings["SQLALCHEMY_EXTERNAL_POOLER"] == "pgbouncer")


Found = Iterator[Finding]


def over_budget(subject: Subject) -> Found:
    """More connections than the server grants, always or while workers are replaced."""
    budget, server = subject.budget, subject.server
    advice = "lower the pool, workers or instances, raise the limit, or put PgBouncer in between"
    if not budget.fits:
        why = f"max_connections {server.max_connections}, {server.reserved} of them reserved"
        for name, limit in (("role", server.role_limit), ("database", server.database_limit)):
            why += f", {name} limit {limit}" if limit is not None else ""
        yield Finding(ERROR, "budget", f"{budget} ({why})", advice)
    elif budget.limit is not None and 2 * budget.needed > budget.limit:
        message = f"{budget}: a reload, when old and new workers run at once, takes more"
        yield Finding(WARNING, "reload", message, advice)


def threads(subject: Subject) -> Found:
    """Threads that can only wait for each other's connections."""
    budget = subject.budget
    if budget.threads > budget.capacity and not is_memory(subject.url):
        message = f"{budget.threads} threads of a worker share {budget.capacity} connections"
        advice = "set WEB_THREADS to at most SQLALCHEMY_POOL_SIZE + SQLALCHEMY_MAX_OVERFLOW"
        yield Finding(WARNING, "threads", message, advice)


def idle(subject: Subject) -> Found:
    """Connections that the server closes before the pool replaces or pings them."""
    limit = subject.server.idle_timeout
    if limit is None:
        return
    recycle = subject.settings["SQLALCHEMY_POOL_RECYCLE"]
    ping_after = subject.settings["SQLALCHEMY_POOL_PING_AFTER"]
    closes = f"the server closes what is idle for {limit:g} s"
    if ping_after >= limit:
        advice = f"set SQLALCHEMY_POOL_PING_AFTER below {limit:g}"
        yield Finding(ERROR, "ping", f"{closes}, a ping comes after {ping_after:g} s", advice)
    if recycle == -1 or recycle >= limit:
        lives = "for ever" if recycle == -1 else f"{recycle} s"
        advice = f"set SQLALCHEMY_POOL_RECYCLE below {limit:g}"
        yield Finding(WARNING, "recycle", f"{closes}, connections live {lives}", advice)


def timeouts(subject: Subject) -> Found:
    """Statements and connects that may take for ever."""
    known = subject.server.max_connections is not None  # the server was asked
    if known and subject.server.statement_timeout is None:
        advice = "let no option of the URL override SQLALCHEMY_STATEMENT_TIMEOUT"
        if subject.server.pooler or subject.behind_pooler:  # where no client may set it
            advice = "ALTER ROLE ... SET statement_timeout on the server"
        message = "the server lets a statement of this service run for ever"
        yield Finding(WARNING, "statement_timeout", message, advice)
    if subject.url.query.get("connect_timeout") == "0":
        message = "connect_timeout=0 in the URL: a connect may hang for ever"
        yield Finding(WARNING, "connect_timeout", message, "remove it from the URL")


def encryption(subject: Subject) -> Found:
    """Passwords and data that anybody on the way can read."""
    address = subject.server.address
    if address is None or subject.server.encrypted is not False:
        return
    try:
        severity = WARNING if ipaddress.ip_address(address).is_private else ERROR
    except ValueError:
        severity = ERROR
    advice = "ask for TLS in the URL (sslmode=verify-full, or ssl_ca and ssl_verify_identity)"
    message = f"the connection to {address} is not encrypted"
    yield Finding(severity, "plain_text", message, advice)


def server(subject: Subject) -> Found:
    """A server that takes no changes, or loses some; a role that nothing stops."""
    if subject.server.read_only and subject.late is None:
        message = "the server takes no changes: a standby, or read_only"
        yield Finding(ERROR, "read_only", message, "connect to the primary")
    if (len(hosts(subject.url)) > 1 or subject.replicas) and not subject.server.synchronous:
        message = "a fail-over can lose writes that were acknowledged"
        advice = "set synchronous_standby_names on the server, if none may be lost"
        yield Finding(WARNING, "synchronous", message, advice)
    if subject.server.superuser:
        message = "the service connects as a superuser: no connection limit or permission holds"
        yield Finding(WARNING, "superuser", message, "give it a role of its own")


def replica(subject: Subject) -> Found:
    """A replica that is none, or can't keep up."""
    if subject.late is None:
        return
    limit = subject.settings["SQLALCHEMY_REPLICA_LAG"]
    if subject.family == "postgresql" and not subject.server.read_only:
        message, advice = "this is a primary", "take it out of SQLALCHEMY_REPLICA_URIS"
        yield Finding(ERROR, "replica", message, advice)
    elif subject.late >= limit:
        message = f"later than SQLALCHEMY_REPLICA_LAG, {limit:g} s: nobody reads from it"
        yield Finding(ERROR, "lag", message, "look whether its replay is paused or too slow")
    elif subject.late > 1:
        message = f"it needed {subject.late:.1f} s for what its primary had"
        yield Finding(WARNING, "lag", message, "who wrote reads from the primary meanwhile")


def sqlite(subject: Subject) -> Found:
    """One file, or one process's memory, for many."""
    instances, workers = subject.budget.instances, subject.budget.workers
    if subject.family == "sqlite" and instances > 1:
        message = f"{instances} instances have {instances} SQLite databases"
        yield Finding(ERROR, "sqlite_instances", message, "use PostgreSQL or MariaDB")
    if is_memory(subject.url):
        severity = ERROR if workers > 1 else WARNING
        message = "in-memory SQLite ends with its process"
        message += f", and each of {workers} workers has its own" if workers > 1 else ""
        yield Finding(severity, "sqlite_memory", message, "name a file: sqlite:///app.db")


def pooler_setting(subject: Subject) -> Found:
    """PgBouncer where none is expected, or none where it is."""
    found = subject.server.pooler
    if found and not subject.behind_pooler:
        message = "a pooler such as PgBouncer answers, and SQLALCHEMY_EXTERNAL_POOLER is none"
        yield Finding(ERROR, "pooler", message, "set SQLALCHEMY_EXTERNAL_POOLER=pgbouncer")
    elif subject.behind_pooler and subject.family == "postgresql" and not found:
        message = "SQLALCHEMY_EXTERNAL_POOLER is pgbouncer, and the server itself answers"
        advice = "set it to none: statement timeout and prepared statements come back"
        yield Finding(WARNING, "pooler", message, advice)
    elif found and subject.pooler is None:
        message = "PgBouncer's admin console can't be asked: its limits are not checked"
        yield Finding(INFO, "console", message, "add the user to its stats_users")


def pooler_limits(subject: Subject) -> Found:
    """PgBouncer that gives each client a connection, or has too few of them."""
    pooler, budget = subject.pooler, subject.budget
    if pooler is None:
        return
    few = f"PgBouncer opens {pooler.server_connections} connections to the database"
    if pooler.mode == "session":
        severity = ERROR if budget.needed > pooler.server_connections else WARNING
        message = f"PgBouncer is in session mode: each of {budget.needed} pooled connections"
        message += f" keeps one of its {pooler.server_connections}"
        yield Finding(severity, "pool_mode", message, "set its pool_mode to transaction")
    elif budget.busy > pooler.server_connections:
        message = f"{few}, and {budget.busy} threads can ask at once"
        yield Finding(WARNING, "pooler_size", message, "raise its default_pool_size")
    if budget.needed > pooler.max_client_connections:
        message = f"{budget}; PgBouncer takes {pooler.max_client_connections} clients"
        yield Finding(ERROR, "max_client_conn", message, "raise its max_client_conn")
    available = subject.server.available
    if available is not None and pooler.server_connections > available:
        advice = f"lower its default_pool_size to at most {available}"
        yield Finding(ERROR, "pooler_budget", f"{few}, which grants {available}", advice)


def promises(subject: Subject) -> Found:
    """What this database can't have, for the way in which the application uses it."""
    for promise, why in subject.lost:
        advice = "served as on the plain application"
        yield Finding(INFO, "promise", f"{why}: without {promise}", advice)


CHECKS: tuple[Callable[[Subject], Found], ...] = (
    over_budget, threads, idle, timeouts, encryption, server, replica, sqlite, pooler_setting,
    pooler_limits, promises,
)  # fmt: skip
