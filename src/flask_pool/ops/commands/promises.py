"""What the pool promises beyond the plain application, and which of it an engine can't have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import current_app
from sqlalchemy.engine import Connection, Engine

from ...connecting import Hosts
from ...options import FAMILIES, is_memory
from ...queue_pool import FairQueuePool

READS = "reads without a transaction, and once more if their connection died"
QUEUE = "fair order, the check before each checkout, warnings of held connections, and metrics"
WITHHELD = "statement_timeout, keepalives on the server, prepared statements"
LIMITS = "time limits and keepalives, the last primary first, and the time that connecting takes"
DRIVERS = ("psycopg", "pymysql", "pysqlite")
HIGHER = ("REPEATABLE READ", "SNAPSHOT", "SERIALIZABLE")


def lost(engine: Engine, connection: Connection) -> Iterator[tuple[str, str]]:
    """Yield each promise that is not kept for this engine, and why."""
    database, driver = engine.dialect.name, engine.dialect.driver
    if database not in FAMILIES:
        why = f"it is {database}, and not one of {', '.join(FAMILIES)}"
        yield "the pool of this library, and all that it promises", why
        return
    if driver not in DRIVERS:
        why = f"its driver is {driver}, and not one of {', '.join(DRIVERS)}"
        yield f"{LIMITS}, {READS}", why
    if is_memory(engine.url):
        yield "the pool's numbers", "in-memory SQLite is its one connection"
    elif not isinstance(engine.pool, FairQueuePool):
        yield QUEUE, f"its pool is a {type(engine.pool).__name__}"
    if own_creator(engine):
        yield LIMITS, "the application's `creator` connects"
    hosts = getattr(getattr(engine.pool, "try_again", None), "__self__", None)
    if isinstance(hosts, Hosts) and hosts.pooler:
        yield WITHHELD, "a pooler answers, which refuses start parameters"
    if not current_app.extensions["flask_pool"].sees_sessions:
        why = "a function makes the sessions of db.session"
        yield f"{READS}, no COMMIT on a dead connection", why
    if driver == "psycopg":
        for why in _no_reads_alone(engine, connection):
            yield READS, why


def own_creator(engine: Engine) -> bool:
    """Tell whether a function of the application's connects in the dialect's place."""
    creator: Any = getattr(engine.pool, "_creator", None)
    dialects = getattr(creator, "__module__", "") == "sqlalchemy.engine.create"
    return not dialects and not is_memory(engine.url)


def _no_reads_alone(engine: Engine, connection: Connection) -> Iterator[str]:
    """Yield what has reads be sent in a transaction, although the driver could do without."""
    cursor = connection.connection.cursor()
    cursor.close()
    kind = type(cursor)
    if kind is not engine.dialect.loaded_dbapi.Cursor:  # as tracers have
        yield f"its cursors are {kind.__module__}.{kind.__qualname__}"
    if len(list(engine.dialect.dispatch.do_execute)) > 1:  # one is the library's
        yield "the application listens to do_execute"
    if len(list(engine.pool.dispatch.reset)) > 1:
        yield "the application listens to reset"
    level = connection.get_isolation_level()
    if level in HIGHER:
        yield f"its transactions are {level}"
