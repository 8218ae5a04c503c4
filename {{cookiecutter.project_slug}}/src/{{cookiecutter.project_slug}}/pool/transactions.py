"""When a transaction begins: at once, or in a safe request at the first write.

Every connection is in the driver's autocommit mode, and BEGIN is sent from here. So a
read costs one round trip, and a write stands in a transaction that is known to have begun.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, cast

from flask import current_app, has_request_context, request
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError

SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}  # RFC 9110, section 9.2.1; TRACE is never routed
DEFERRED = "begin_deferred"
BEGUN = "begun"
WROTE = "pool.wrote"

# in doubt a statement counts as a write: a needless BEGIN costs a round trip, no more
READ = re.compile(r"\s*(SELECT|WITH|VALUES|TABLE|SHOW|EXPLAIN|DESCRIBE|PRAGMA)\b", re.I)
WRITE = re.compile(r"\b(INSERT|UPDATE|DELETE|MERGE|INTO|CALL|SHARE)\b", re.I)


def in_safe_request() -> bool:
    """Tell whether a request is being served that promises to change nothing."""
    return has_request_context() and request.method in SAFE_METHODS


def wrote() -> bool:
    """Tell whether the current request sent anything but reads."""
    return WROTE in request.environ


def reading(bind: Engine | Connection) -> Engine | Connection:
    """Return the engine on the same pool that begins at the first write, in a safe request."""
    if not in_safe_request():
        return bind
    deferred: Engine | Connection = current_app.extensions["pool"].deferred.get(bind, bind)
    return deferred


def watch(engine: Engine) -> Engine:
    """Send BEGIN when it is due; return the engine that defers it."""
    event.listen(engine, "begin", _begin)
    event.listen(engine, "before_cursor_execute", _before_cursor_execute)
    return engine.execution_options(**{DEFERRED: True})


@lru_cache(maxsize=1024)
def is_read(statement: str) -> bool:
    """Tell whether the statement surely writes nothing and locks nothing."""
    return READ.match(statement) is not None and WRITE.search(statement) is None


def _begin(connection: Connection) -> None:
    if connection.get_execution_options().get(DEFERRED):
        connection.info[BEGUN] = False
        return
    try:
        _send_begin(connection)
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
        # nothing has been done yet, so a fresh connection will do as well
        _send_begin(connection)


def _before_cursor_execute(
    connection: Connection,
    cursor: Any,
    statement: str,
    parameters: Any,
    context: Any,
    executemany: bool,
) -> None:
    reads = is_read(statement) or statement.startswith("BEGIN")
    if reads and not _needs_cursor(context):
        return
    if not reads and has_request_context():
        request.environ[WROTE] = True
    if not connection.info.get(BEGUN):
        _send_begin(connection)


def _needs_cursor(context: Any) -> bool:
    """Tell whether rows are streamed from a cursor that PostgreSQL keeps in transactions only."""
    return (
        context is not None
        and context.dialect.name == "postgresql"
        and bool(context.execution_options.get("stream_results"))
    )


def _send_begin(connection: Connection) -> None:
    """Begin, unless the connection's own isolation level says not to or makes the driver do so."""
    connection.info[BEGUN] = True
    if connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT":
        return
    dialect = connection.dialect
    if dialect.name == "sqlite":
        # a deferred BEGIN fails as soon as two transactions that read turn to writing
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    elif dialect.detect_autocommit_setting(cast(Any, connection.connection.dbapi_connection)):
        connection.exec_driver_sql("BEGIN")
