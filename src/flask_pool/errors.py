"""Answers for requests whose database can't serve them now; the rest is a program's own error."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable
from time import monotonic
from typing import Any

from flask import Flask
from flask.typing import ResponseReturnValue
from sqlalchemy import event
from sqlalchemy.engine import Engine, ExceptionContext
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from werkzeug.exceptions import ServiceUnavailable

from .observer import Observer
from .requests import note_death

RETRY_AFTER = 1  # seconds; a pool that is full or a database that restarts needs no longer
REASON = "pool_reason"  # what is remembered of a driver's error

REASONS = {
    "exhausted": "All database connections are in use. Try again shortly.",
    "unavailable": "The database is not available. Try again shortly.",
    "conflict": "Another request was in the way. Try again.",
    "timeout": "The database took too long. Try again later.",
    "read_only": "The database takes no changes now. Try again shortly.",
    "in_doubt": "The database was lost while it was saving. Look whether it did.",
}
POSTGRESQL = {
    "40001": "conflict",  # serialization_failure
    "40P01": "conflict",  # deadlock_detected
    "55P03": "conflict",  # lock_not_available
    "57014": "timeout",  # query_canceled: statement_timeout
    "25P03": "unavailable",  # idle_in_transaction_session_timeout
    "25P04": "unavailable",  # transaction_timeout
    "57P01": "unavailable",  # admin_shutdown
    "57P02": "unavailable",  # crash_shutdown
    "57P03": "unavailable",  # cannot_connect_now
    "57P05": "unavailable",  # idle_session_timeout
}
CLASSES = {"08": "unavailable", "53": "unavailable"}  # connection exceptions, out of resources
MYSQL = {
    1213: "conflict",  # ER_LOCK_DEADLOCK
    1205: "conflict",  # ER_LOCK_WAIT_TIMEOUT
    1969: "timeout",  # MariaDB: max_statement_time
    3024: "timeout",  # MySQL: max_execution_time
    1040: "unavailable",  # ER_CON_COUNT_ERROR
    1047: "unavailable",  # Galera: WSREP has not yet prepared node for application use
    1053: "unavailable",  # ER_SERVER_SHUTDOWN
    1180: "in_doubt",  # ER_ERROR_DURING_COMMIT: Galera lost its quorum, which may have it
    1203: "unavailable",  # ER_TOO_MANY_USER_CONNECTIONS
    1226: "unavailable",  # ER_USER_LIMIT_REACHED
}
SQLITE = {
    sqlite3.SQLITE_BUSY: "conflict",
    sqlite3.SQLITE_LOCKED: "conflict",
    sqlite3.SQLITE_CANTOPEN: "unavailable",
    sqlite3.SQLITE_FULL: "unavailable",
    sqlite3.SQLITE_IOERR: "unavailable",
}
NO_QUORUM = 1047
READ_ONLY_OPTION = 1290  # also of other options: the text tells which

logger = logging.getLogger(__name__)


class DatabaseUnavailable(ServiceUnavailable):
    """The request can't be served now, for this reason."""

    def __init__(self, reason: str) -> None:
        # after a commit that may have happened nobody should simply try again
        retry_after = None if reason == "in_doubt" else RETRY_AFTER
        super().__init__(REASONS[reason], retry_after=retry_after)
        self.reason = reason


def reason_of(error: SQLAlchemyError) -> str | None:
    """Return one of REASONS; None for an error that will not pass by itself."""
    if isinstance(error, PoolTimeoutError):
        return "exhausted"
    if not isinstance(error, DBAPIError):
        return None
    found: str | None = getattr(error.orig, REASON, None) or _reason_given(error.orig)
    return found or ("unavailable" if error.connection_invalidated else None)


def watch(engine: Engine) -> None:
    """Note of each failure what only its connection can tell."""
    event.listen(engine, "handle_error", _note)


def init_app(app: Flask, observers: Iterable[Observer]) -> None:
    """Answer 503 for what passes; leave the rest as it would be without this."""
    throttles = {reason: Throttle() for reason in REASONS}

    @app.errorhandler(SQLAlchemyError)
    def answer(error: SQLAlchemyError) -> ResponseReturnValue:
        reason = reason_of(error)
        if reason is None:
            # the handler that would have been asked without this one
            other = app.error_handler_spec[None][None].get(Exception)
            if other is None:
                raise error
            answer: ResponseReturnValue = app.ensure_sync(other)(error)
            return answer
        for observer in observers:
            observer.unavailable(reason)
        said = " ".join(str(getattr(error, "orig", None) or error).split())
        throttles[reason].warning(f"503 {reason}: {type(error).__name__}: {said}")
        return app.handle_http_exception(DatabaseUnavailable(reason))


class Throttle:
    """Lets one line through a second, and says how many it kept back."""

    def __init__(self) -> None:
        self._next = 0.0
        self._kept = 0

    def warning(self, message: str) -> None:
        """Log the message, unless one was logged within the last second."""
        now = monotonic()
        if now < self._next:
            self._kept += 1
            return
        kept, self._kept, self._next = self._kept, 0, now + 1
        logger.warning("%s (%d like it since the last line)", message, kept)


def _note(context: ExceptionContext) -> None:
    error: Any = context.original_exception
    driver: Any = context.dialect.loaded_dbapi
    if context.connection is None and isinstance(
        error, driver.OperationalError | driver.InterfaceError
    ):
        setattr(error, REASON, "unavailable")  # it could not connect
    elif _server_is_read_only(error, context):
        context.is_disconnect = True  # the next connection finds the new primary
        setattr(error, REASON, "read_only")
    elif getattr(error, "in_doubt", False):
        setattr(error, REASON, "in_doubt")
    elif error.args[:1] == (NO_QUORUM,):
        context.is_disconnect = True
    if context.is_disconnect:
        note_death()


def _server_is_read_only(error: Any, context: ExceptionContext) -> bool:
    """Tell whether the server, and not a transaction that asked for it, takes no changes."""
    if context.dialect.driver == "psycopg":
        if getattr(error, "sqlstate", None) != "25006" or context.connection is None:
            return False
        connection: Any = context.connection.connection.driver_connection
        return bool(connection.was_read_only or connection.is_read_only())
    return error.args[:1] == (READ_ONLY_OPTION,) and "--read-only" in str(error.args[-1])


def _reason_given(error: Any) -> str | None:
    """Return what the driver's own code of the error means."""
    if isinstance(error, sqlite3.Error):
        return SQLITE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
    if error is not None and isinstance(next(iter(error.args), None), int):
        return MYSQL.get(error.args[0])
    sqlstate = getattr(error, "sqlstate", None) or ""
    return POSTGRESQL.get(sqlstate) or CLASSES.get(sqlstate[:2])
