"""When a transaction begins: at once, or in a safe request at the first write.

Every connection is in the driver's autocommit mode, and BEGIN is sent from here. So a
read costs one round trip, and a write stands in a transaction that is known to have begun.
"""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

from flask import current_app, has_request_context, request
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError

SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}  # RFC 9110, section 9.2.1; TRACE is never routed
DEFERRED = "begin_deferred"
WROTE = "pool.wrote"

# in doubt a statement counts as a write: a needless BEGIN costs a round trip, no more
READ = re.compile(r"\s*(SELECT|WITH|VALUES|TABLE|SHOW|EXPLAIN|DESCRIBE|PRAGMA)\b", re.I)
WRITE = re.compile(r"\b(INSERT|UPDATE|DELETE|MERGE|INTO|CALL|SHARE)\b", re.I)


@dataclass(frozen=True)
class Twins:
    """Two engines on the pool of a third, for the session."""

    deferred: Engine  # begins at the first write
    verified: Engine  # begins at once, on another connection if the first one is dead


def in_safe_request() -> bool:
    """Tell whether a request is being served that promises to change nothing."""
    return has_request_context() and request.method in SAFE_METHODS


def wrote() -> bool:
    """Tell whether the current request sent anything but reads."""
    return WROTE in request.environ


def twin(bind: Engine | Connection, explicit: bool = False) -> Engine | Connection:
    """Return the engine to use: in a safe request, unless begun explicitly, the deferred one."""
    twins: Twins | None = current_app.extensions["pool"].twins.get(bind)
    if twins is None:  # a connection
        return bind
    return twins.verified if explicit or not in_safe_request() else twins.deferred


def reading(engine: Engine) -> Connection:
    """Take a connection, to be used in a `with` block by a view that only reads.

    It does what the session does in the same request, with less ado.
    """
    return cast(Engine, twin(engine)).connect()


def watch(engine: Engine) -> Twins:
    """Send BEGIN when it is due; return the engine's twins."""
    # events of the dialect: any event of the engine makes each statement slower by a quarter
    for happening in ("do_execute", "do_executemany", "do_execute_no_params"):
        event.listen(engine, happening, _before_statement)
    twins = Twins(engine.execution_options(**{DEFERRED: True}), engine.execution_options())
    event.listen(twins.verified, "begin", _begin)
    return twins


@lru_cache(maxsize=1024)
def is_read(statement: str) -> bool:
    """Tell whether the statement surely writes nothing and locks nothing."""
    return READ.match(statement) is not None and WRITE.search(statement) is None


def _before_statement(cursor: Any, statement: str, *rest: Any) -> None:
    """Begin, if the transaction that the program sees has not begun on the server."""
    context = rest[-1]
    options = context.execution_options
    reads = is_read(statement)
    if reads and options.get(DEFERRED) and not _needs_transaction(context):
        return
    connection = context.root_connection
    # BEGIN itself, or SQLAlchemy's first look at a server
    if not connection.in_transaction():
        return
    if not reads and has_request_context():
        request.environ[WROTE] = True
    if not cursor.connection.in_transaction:
        begin = _how_to_begin(connection)
        if begin:
            # not on the statement's own cursor, which may be one that the server keeps
            with closing(cursor.connection.cursor()) as own:
                own.execute(begin)


def _begin(connection: Connection) -> None:
    begin = _how_to_begin(connection)
    if begin is None:
        return
    try:
        connection.exec_driver_sql(begin)
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
        # nothing has been done yet, so a fresh connection will do as well
        connection.exec_driver_sql(begin)


def _how_to_begin(connection: Connection) -> str | None:
    """Return the statement; None if the connection's isolation level makes the driver begin."""
    if connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT":
        return None
    if connection.dialect.name == "sqlite":
        # a deferred BEGIN fails as soon as two transactions that read turn to writing
        return "BEGIN IMMEDIATE"
    driver = cast(Any, connection.connection.dbapi_connection)
    return "BEGIN" if connection.dialect.detect_autocommit_setting(driver) else None


def _needs_transaction(context: Any) -> bool:
    """Tell whether rows are streamed from a cursor that PostgreSQL keeps in transactions only."""
    streams = context.execution_options.get("stream_results")
    return bool(streams) and context.dialect.name == "postgresql"
