"""503 for requests that the database can't serve now; all other errors stay as they are."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from time import monotonic
from typing import Any, cast
from weakref import WeakKeyDictionary

from flask import Flask
from flask.signals import got_request_exception
from flask.typing import ResponseReturnValue
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, InvalidRequestError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from werkzeug.exceptions import ServiceUnavailable

from .connections import RECLAIMED, SET_READ_ONLY, SHUT_DOWN, USE, WAS_READ_ONLY
from .observer import Observer
from .sql import only_reads

RETRY_AFTER = 1  # seconds; a pool that is full or a database that restarts needs no longer

REASONS = {
    "overloaded": "The service is overloaded. Try again shortly.",
    "exhausted": "All database connections are in use. Try again shortly.",
    "unavailable": "The database is not available. Try again shortly.",
    "conflict": "Another request changed the same data. Try again.",
    "timeout": "The database took too long. Try again later.",
    "read_only": "The database takes no changes now. Try again shortly.",
    "in_doubt": "The connection was lost during commit. The change may have been saved; "
    "check before retrying.",
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
    1020: "conflict",  # ER_CHECKREAD: record has changed since last read (MariaDB 11.6 and later)
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
    sqlite3.SQLITE_FULL: "unavailable",
    sqlite3.SQLITE_IOERR: "unavailable",
}
NO_QUORUM = 1047
READ_ONLY_OPTION = 1290  # also of other options: the text tells which
READ_ONLY_TRANSACTION = "25006"
# what PostgreSQL reports of itself, without being asked
STANDBY = "in_hot_standby"
READ_ONLY_STATUS = (STANDBY, "default_transaction_read_only")

# what only the connection could tell of a driver's error, asked by `reason_of`
_noted: WeakKeyDictionary[Any, str] = WeakKeyDictionary()

logger = logging.getLogger(__name__)


class DatabaseUnavailable(ServiceUnavailable):
    """The request can't be served now, for this reason."""

    def __init__(self, reason: str) -> None:
        # after a commit that may have happened nobody should simply try again
        retry_after = None if reason == "in_doubt" else RETRY_AFTER
        super().__init__(REASONS[reason], retry_after=retry_after)
        self.reason = reason


class TimeoutError(PoolTimeoutError, ServiceUnavailable):  # noqa: A001 - as there
    """No connection was returned in time: SQLAlchemy's TimeoutError, and Werkzeug's 503."""

    # SQLAlchemy has a `code` of its own, which Werkzeug would take for the status
    code: Any = 503
    reason = "exhausted"

    def __init__(self, message: str) -> None:
        super().__init__(message, retry_after=RETRY_AFTER)
        self.message = message
        self.description = REASONS[self.reason]  # what a client may see

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[type[TimeoutError], tuple[str]]:
        return type(self), (self.message,)


class TooManyWaiting(TimeoutError):
    """Refused at once, as `max_waiting` threads are already waiting for a connection."""


class ConnectionReclaimed(InvalidRequestError):
    """The pool has taken this connection back, as the request that took it had ended."""


def reason_of(error: BaseException) -> str | None:
    """Return one of REASONS; None for an error that will not pass by itself."""
    if isinstance(error, PoolTimeoutError):
        return "exhausted"
    if not isinstance(error, DBAPIError):
        return None
    with suppress(TypeError):  # not a driver's: None and Python's own take no weak references
        if error.orig in _noted:
            return _noted[error.orig]
    return _reason_given(error.orig) or ("unavailable" if error.connection_invalidated else None)


def init_app(app: Flask, observers: Iterable[Observer]) -> None:
    """Answer 503 for what passes; leave the rest as it would be without this."""
    throttles = {reason: Throttle() for reason in REASONS}
    handlers = app.error_handler_spec[None][None]

    def answer(error: SQLAlchemyError) -> ResponseReturnValue:
        reason = reason_of(error)
        if reason is None:
            # the handler that would have been asked without this one
            other = handlers.get(Exception)
            if other is None:
                raise error
            return cast(ResponseReturnValue, app.ensure_sync(other)(error))
        got_request_exception.send(app, _async_wrapper=app.ensure_sync, exception=error)
        if reason != "exhausted":  # which the pool has counted
            for observer in observers:
                observer.unavailable(reason)
        original = getattr(error, "orig", None) or error
        said = " ".join([*str(original).split(), *getattr(original, "__notes__", ())])
        throttles[reason].warning(f"503 {reason}: {type(error).__name__}: {said}")
        return app.handle_http_exception(DatabaseUnavailable(reason))

    if SQLAlchemyError not in handlers:  # the application's own wins
        app.register_error_handler(SQLAlchemyError, answer)


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
        like_it = f" ({kept} like it since the last line)" if kept else ""
        logger.warning("%s%s", message, like_it)


def note_error(context: ExceptionContext) -> None:
    """Note what only a failed statement's connection can tell; listens to `handle_error`."""
    error: Any = context.original_exception
    driver: Any = context.dialect.loaded_dbapi
    if not isinstance(error, driver.Error):
        return
    info = _info(context)
    if USE in info:
        info[USE].failed = True
    if RECLAIMED in info:
        raise ConnectionReclaimed(info[RECLAIMED]) from error
    if SHUT_DOWN in info:
        error.add_note(info[SHUT_DOWN])
        context.is_disconnect = True
    if context.connection is None and isinstance(
        error, driver.OperationalError | driver.InterfaceError
    ):
        _noted[error] = "unavailable"  # it could not connect
    elif _server_is_read_only(error, context, info):
        context.is_disconnect = True  # the next connection finds the new primary
        _noted[error] = "read_only"
    elif context.is_disconnect and (_commits(error) or _commits_itself(context)):
        _noted[error] = "in_doubt"
    elif error.args[:1] == (NO_QUORUM,):
        context.is_disconnect = True


def _info(context: ExceptionContext) -> dict[str, Any]:
    connection = context.connection
    if connection is None or connection.closed or connection.invalidated:
        return {}
    try:
        return connection.info
    except NotImplementedError:  # SQLAlchemy asks a new connection for the server's version
        return {}


def _commits(error: BaseException) -> bool:
    """Tell whether the error came out of the dialect's COMMIT, and not of a ROLLBACK."""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_name in ("do_commit", "do_commit_twophase"):
            return True
        trace = trace.tb_next
    return False


def _commits_itself(context: ExceptionContext) -> bool:
    """Tell whether the statement, in autocommit, may have been saved."""
    if context.connection is None or context.statement is None or only_reads(context.statement):
        return False
    connection: Any = context.connection.connection.driver_connection
    autocommit = getattr(connection, "get_autocommit", None)  # PyMySQL
    return bool(autocommit() if autocommit else getattr(connection, "autocommit", False) is True)


def is_read_only(connection: Any) -> bool:
    """Tell whether a psycopg connection's server, and not just a transaction, takes no changes."""
    info = connection.info
    return "on" in (info.parameter_status(name) for name in READ_ONLY_STATUS)


def _server_is_read_only(error: Any, context: ExceptionContext, info: dict[str, Any]) -> bool:
    if context.dialect.driver == "psycopg":
        if getattr(error, "sqlstate", None) != READ_ONLY_TRANSACTION or context.connection is None:
            return False
        driver: Any = context.connection.connection.driver_connection
        if SET_READ_ONLY in info or "read_only" in driver.info.get_parameters().get("options", ""):
            return bool(driver.info.parameter_status(STANDBY) == "on")  # else as it asked for
        # what began while the server took no changes takes none, whatever came since
        return WAS_READ_ONLY in info or is_read_only(driver)
    return error.args[:1] == (READ_ONLY_OPTION,) and "--read-only" in str(error.args[-1])


def _reason_given(error: Any) -> str | None:
    """Return what the driver's own code of the error means."""
    if isinstance(error, sqlite3.Error):
        return SQLITE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
    if error is not None and isinstance(next(iter(error.args), None), int):
        return MYSQL.get(error.args[0])
    sqlstate = getattr(error, "sqlstate", None) or ""
    return POSTGRESQL.get(sqlstate) or CLASSES.get(sqlstate[:2])
