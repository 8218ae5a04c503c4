"""What can be wrong between a service and its database server."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import URL

from ..budget import Budget
from ...options import is_memory
from .session import Pooler, Session

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
    session: Session
    pooler: Pooler | None = None

    @property
    def behind_pooler(self) -> bool:
        """Tell whether the settings say that PgBouncer stands in between."""
        return bool(self.settings["SQLALCHEMY_EXTERNAL_POOLER"] == "pgbouncer")

    @property
    def is_sqlite(self) -> bool:
        """Tell whether there is no server."""
        return self.url.get_backend_name() == "sqlite"


Found = Iterator[Finding]


def over_budget(subject: Subject) -> Found:
    """More connections than the server grants, always or while workers are replaced."""
    budget, limits = subject.budget, subject.session.limits
    if budget.limit is None:
        return
    advice = "lower the pool, workers or instances, raise the limit, or put PgBouncer in between"
    if not budget.fits:
        why = f"max_connections {limits.max_connections}, {limits.reserved} of them reserved"
        for name, limit in (("role", limits.role_limit), ("database", limits.database_limit)):
            why += f", {name} limit {limit}" if limit is not None else ""
        yield Finding(ERROR, "budget", f"{budget} ({why})", advice)
    elif 2 * budget.needed > budget.limit:
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
    limit = subject.session.limits.idle_timeout
    recycle = subject.settings["SQLALCHEMY_POOL_RECYCLE"]
    ping_after = subject.settings["SQLALCHEMY_POOL_PING_AFTER"]
    if limit is None:
        return
    if ping_after >= limit:
        message = f"the server closes what is idle for {limit:g} s, a ping comes after"
        advice = f"set SQLALCHEMY_POOL_PING_AFTER below {limit:g}"
        yield Finding(ERROR, "ping", f"{message} {ping_after:g} s", advice)
    if recycle == -1 or recycle >= limit:
        lives = "for ever" if recycle == -1 else f"{recycle} s"
        message = f"the server closes what is idle for {limit:g} s, connections live {lives}"
        advice = f"set SQLALCHEMY_POOL_RECYCLE below {limit:g}"
        yield Finding(WARNING, "recycle", message, advice)


def timeouts(subject: Subject) -> Found:
    """Statements and connects that may take for ever."""
    if not subject.is_sqlite and subject.session.statement_timeout is None:
        advice = "let no option of the URL override SQLALCHEMY_STATEMENT_TIMEOUT"
        if subject.session.pooler or subject.behind_pooler:  # where no client may set it
            advice = "ALTER ROLE ... SET statement_timeout on the server"
        message = "the server lets a statement of this service run for ever"
        yield Finding(WARNING, "statement_timeout", message, advice)
    if subject.url.query.get("connect_timeout") == "0":
        message = "connect_timeout=0 in the URL: a connect may hang for ever"
        yield Finding(WARNING, "connect_timeout", message, "remove it from the URL")


def encryption(subject: Subject) -> Found:
    """Passwords and data that anybody on the way can read."""
    address = subject.session.address
    if address is None or subject.session.encrypted:
        return
    advice = "ask for TLS in the URL (sslmode=verify-full, or ssl_ca and ssl_verify_identity)"
    message = f"the connection to {address} is not encrypted"
    severity = WARNING if is_private(address) else ERROR
    yield Finding(severity, "plain_text", message, advice)


def superuser(subject: Subject) -> Found:
    """A service whom no limit and no permission stops."""
    if subject.session.superuser:
        message = "the service connects as a superuser: no connection limit or permission holds"
        yield Finding(WARNING, "superuser", message, "give it a role of its own")


def sqlite(subject: Subject) -> Found:
    """One file, or one process's memory, for many."""
    if not subject.is_sqlite:
        return
    instances, workers = subject.budget.instances, subject.budget.workers
    if instances > 1:
        message = f"{instances} instances have {instances} SQLite databases"
        yield Finding(ERROR, "sqlite_instances", message, "use PostgreSQL or MariaDB")
    if is_memory(subject.url):
        severity = ERROR if workers > 1 else WARNING
        message = "in-memory SQLite ends with its process"
        message += f", and each of {workers} workers has its own" if workers > 1 else ""
        yield Finding(severity, "sqlite_memory", message, "name a file: sqlite:///app.db")


def pooler_setting(subject: Subject) -> Found:
    """PgBouncer where none is expected, or none where it is."""
    session = subject.session
    if session.pooler and not subject.behind_pooler:
        message = "a pooler such as PgBouncer answers, and SQLALCHEMY_EXTERNAL_POOLER is none"
        if session.refused:
            message += ": it refuses to connect"
        yield Finding(ERROR, "pooler", message, "set SQLALCHEMY_EXTERNAL_POOLER=pgbouncer")
    if subject.behind_pooler and subject.url.get_backend_name() == "postgresql":
        if not session.pooler:
            message = "SQLALCHEMY_EXTERNAL_POOLER is pgbouncer, and the server itself answers"
            advice = "set it to none: statement timeout and prepared statements come back"
            yield Finding(WARNING, "pooler", message, advice)
        elif subject.pooler is None:
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
    elif (busy := budget.busy) > pooler.server_connections:
        message = f"{few}, and {busy} threads can ask at once"
        yield Finding(WARNING, "pooler_size", message, "raise its default_pool_size")
    if budget.needed > pooler.max_client_connections:
        message = f"{budget}; PgBouncer takes {pooler.max_client_connections} clients"
        yield Finding(ERROR, "max_client_conn", message, "raise its max_client_conn")
    available = subject.session.limits.available
    if available is not None and pooler.server_connections > available:
        advice = f"lower its default_pool_size to at most {available}"
        yield Finding(ERROR, "pooler_budget", f"{few}, which grants {available}", advice)


def is_private(address: str) -> bool:
    """Tell whether this is an address of a private network."""
    try:
        return ipaddress.ip_address(address).is_private
    except ValueError:
        return False


CHECKS: tuple[Callable[[Subject], Found], ...] = (
    over_budget, threads, idle, timeouts, encryption, superuser, sqlite, pooler_setting,
    pooler_limits,
)  # fmt: skip
