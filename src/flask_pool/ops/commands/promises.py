"""What the pool promises beyond the plain application, and which of it an engine can't have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
    for why_not, promise in CAUSES:
        why = why_not(engine, connection)
        if why:
            yield promise, why
            if why_not is another_database:
                break


def another_database(engine: Engine, connection: Connection) -> str:
    """A database that nothing is known of."""
    name = engine.dialect.name
    return "" if name in FAMILIES else f"it is {name}, and not one of {', '.join(FAMILIES)}"


def another_driver(engine: Engine, connection: Connection) -> str:
    """A driver that is used through SQLAlchemy alone."""
    driver = engine.dialect.driver
    known = driver in DRIVERS or engine.dialect.name not in FAMILIES
    return "" if known else f"its driver is {driver}, and not one of {', '.join(DRIVERS)}"


def memory(engine: Engine, connection: Connection) -> str:
    """One connection, which is the database."""
    return "in-memory SQLite is its one connection" if is_memory(engine.url) else ""


def another_pool(engine: Engine, connection: Connection) -> str:
    """A pool that the application chose."""
    known = isinstance(engine.pool, FairQueuePool) or is_memory(engine.url)
    return "" if known else f"its pool is a {type(engine.pool).__name__}"


def own_creator(engine: Engine, connection: Connection | None = None) -> str:
    """A function of the application's that connects in the dialect's place."""
    creator: Any = getattr(engine.pool, "_creator", None)
    dialects = getattr(creator, "__module__", "") == "sqlalchemy.engine.create"
    return "" if dialects or is_memory(engine.url) else "the application's `creator` connects"


def noticed_pooler(engine: Engine, connection: Connection) -> str:
    """A pooler that refused what is sent to a server."""
    hosts = getattr(getattr(engine.pool, "try_again", None), "__self__", None)
    noticed = isinstance(hosts, Hosts) and hosts.pooler
    return "a pooler answers, which refuses start parameters" if noticed else ""


def own_session(engine: Engine, connection: Connection) -> str:
    """Sessions that are made where no listener reaches them."""
    seen = current_app.extensions["flask_pool"].sees_sessions or engine.dialect.name not in FAMILIES
    return "" if seen else "a function makes the sessions of db.session"


def own_cursor(engine: Engine, connection: Connection) -> str:
    """A cursor that is not the driver's, as tracers have."""
    if engine.dialect.driver != "psycopg":
        return ""
    cursor = connection.connection.cursor()
    kind: type[Any] = type(cursor)
    cursor.close()
    own = kind is not engine.dialect.loaded_dbapi.Cursor
    return f"its cursors are {kind.__module__}.{kind.__qualname__}" if own else ""


def own_execute(engine: Engine, connection: Connection) -> str:
    """A listener that may change what is sent."""
    own = engine.dialect.driver == "psycopg" and len(list(engine.dialect.dispatch.do_execute)) > 1
    return "the application listens to do_execute" if own else ""


def own_reset(engine: Engine, connection: Connection) -> str:
    """A listener that expects what a ROLLBACK leaves."""
    own = engine.dialect.driver == "psycopg" and len(list(engine.pool.dispatch.reset)) > 1
    return "the application listens to reset" if own else ""


def higher_isolation(engine: Engine, connection: Connection) -> str:
    """Transactions in which statements see the same."""
    if engine.dialect.driver != "psycopg":
        return ""
    level = connection.get_isolation_level()
    return f"its transactions are {level}" if level in HIGHER else ""


# the first one includes the others
CAUSES: tuple[tuple[Callable[[Engine, Connection], str], str], ...] = (
    (another_database, "the pool of this library, and all that it promises"),
    (another_driver, f"{LIMITS}, {READS}"),
    (memory, "the pool's numbers"),
    (another_pool, QUEUE),
    (own_creator, LIMITS),
    (noticed_pooler, WITHHELD),
    (own_session, f"{READS}, no COMMIT on a dead connection"),
    (own_cursor, READS),
    (own_execute, READS),
    (own_reset, READS),
    (higher_isolation, READS),
)
