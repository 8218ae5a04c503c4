"""COMMIT and ROLLBACK: neither is sent where it can't arrive or is not needed."""

from __future__ import annotations

from threading import get_ident
from typing import Any

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.exc import DBAPIError, DisconnectionError, OperationalError
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry, PoolResetState

from .connections import ACTIVE, CLOSED, USE, Socket, ask_socket, descriptor, is_settled
from .reads import USES
from .uses import Use

HUNG_UP = "the server closed the connection before COMMIT was sent"
AMID_ANSWER = "the connection was returned amid an answer"
PATIENCE = 1.0  # seconds to wait for another thread's raw cursor
IN_TRANSACTION = 0x0001  # SERVER_STATUS_IN_TRANS of MySQL's protocol


def refuse_lost(session: Session) -> None:
    """Raise before COMMIT is sent on a dead connection; listens to `before_commit`."""
    for connection, use in _open(session):
        if ask_socket(use.driver) is Socket.DEAD:
            driver: Any = connection.dialect.loaded_dbapi
            error = driver.OperationalError(HUNG_UP)
            connection.invalidate(error)
            raise OperationalError("COMMIT", None, error, connection_invalidated=True)


def end_session(db: SQLAlchemy, teardown: Any, error: BaseException | None) -> None:
    """End a request's session as `db` does, without an error of a connection that has died.

    It needs no ROLLBACK: its server did that.
    """
    registry = getattr(db.session, "registry", None)  # a test's own session has none
    used = _open(registry()) if registry is not None and registry.has() else []
    # an application's own may commit, which must not fail unseen
    only_removes = teardown.__func__ is getattr(SQLAlchemy, "_teardown_session", None)
    for connection, use in used:
        if only_removes and is_settled(use.driver):
            continue
        lost = descriptor(use.driver) == CLOSED or is_busy(use.driver, use)
        if lost or (not only_removes and ask_socket(use.driver) is Socket.DEAD):
            connection.invalidate()
    try:
        teardown(error)
    except DBAPIError as failed:
        if not (used and only_removes and failed.connection_invalidated):
            raise
        teardown(error)  # the rest of it


def _open(session: Session) -> list[tuple[Connection, Use]]:
    return [
        (connection, use)
        for connection, use in session.info.get(USES, ())
        if not connection.closed and not connection.invalidated
    ]


def is_busy(connection: Any, use: Use | None) -> bool:
    """Tell whether a ROLLBACK would wait for ever, or take an answer that is for another thread."""
    if is_settled(connection):
        return False
    elsewhere = use is not None and use.thread != get_ident()
    pgconn = getattr(connection, "pgconn", None)
    if pgconn is not None:
        # psycopg waits for a thread that asks, and for ever for a stream that nobody reads on
        if pgconn.transaction_status != ACTIVE or elsewhere:
            return False
        if connection.lock.acquire(timeout=PATIENCE):  # a thread that asked with a raw cursor
            connection.lock.release()
        return bool(pgconn.transaction_status == ACTIVE)
    # PyMySQL does not wait; while a statement is being answered it has no result. It expects the
    # first packet then, or another thread reads the others
    if getattr(connection, "_result", True) is not None:
        return False
    answering = elsewhere and ask_socket(connection) is Socket.READABLE
    return answering or getattr(connection, "_next_seq_id", 0) == 1


def close_busy(connection: Any, record: ConnectionPoolEntry, state: PoolResetState) -> None:
    """Have the pool drop a connection that was returned amid an answer; listens to `reset`."""
    detached = record is None
    if not (detached or state.transaction_was_reset) and is_busy(connection, record.info.get(USE)):
        raise DisconnectionError(AMID_ANSWER)  # SQLAlchemy logs it, and sends no ROLLBACK


def reset(
    dialect: Dialect, connection: Any, record: ConnectionPoolEntry, state: PoolResetState
) -> None:
    """Roll back a PyMySQL connection, unless its session surely has; listens to `reset`."""
    use: Use | None = record.info.get(USE) if record is not None else None
    rolled_back = state.transaction_was_reset or (
        use is not None
        and use.began
        and not (use.claimed or use.failed)
        and not getattr(connection, "server_status", IN_TRANSACTION) & IN_TRANSACTION
    )
    if not rolled_back:
        dialect.do_rollback(connection)
