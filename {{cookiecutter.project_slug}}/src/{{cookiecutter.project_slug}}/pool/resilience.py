"""What a request gets when its connection dies or none is to be had."""

from __future__ import annotations

import logging
from time import monotonic

from flask import Flask, current_app, request
from flask.typing import ResponseReturnValue
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from werkzeug.exceptions import ServiceUnavailable

from . import metrics, transactions

RETRIED = "pool.retried"
RETRY_AFTER = 1  # seconds; a pool that is full or a database that restarts needs no longer

logger = logging.getLogger(__name__)


class Exhausted(ServiceUnavailable):
    """No connection was returned in time."""

    description = "All database connections are in use. Try again shortly."


class Unavailable(ServiceUnavailable):
    """The database can't be reached or gave up."""

    description = "The database is not available. Try again shortly."


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


def init_app(app: Flask, db: SQLAlchemy) -> None:
    """Answer for the database's failures."""
    throttles = {Exhausted: Throttle(), Unavailable: Throttle()}

    def unavailable(kind: type[ServiceUnavailable], reason: str) -> ResponseReturnValue:
        metrics.unavailable(kind.__name__.lower())
        throttles[kind].warning(f"503 {kind.__name__.lower()}: {reason}")
        db.session.remove()
        return current_app.handle_http_exception(kind(retry_after=RETRY_AFTER))

    @app.errorhandler(PoolTimeoutError)
    def exhausted(error: PoolTimeoutError) -> ResponseReturnValue:
        return unavailable(Exhausted, str(error))

    @app.errorhandler(DBAPIError)
    def failed(error: DBAPIError) -> ResponseReturnValue:
        if error.connection_invalidated and _may_run_again():
            metrics.retried()
            return _run_again(db)
        if error.connection_invalidated or isinstance(error, OperationalError | InterfaceError):
            said = " ".join(str(error.orig).split())  # some drivers use several lines
            return unavailable(Unavailable, f"{type(error.orig).__name__}: {said}")
        raise error


def _may_run_again() -> bool:
    return (
        transactions.in_safe_request()
        and not transactions.wrote()
        and RETRIED not in request.environ
    )


def _run_again(db: SQLAlchemy) -> ResponseReturnValue:
    """Serve the request once more, with a new session and what goes before the view."""
    request.environ[RETRIED] = True
    db.session.remove()
    try:
        answer = current_app.preprocess_request()
        return current_app.dispatch_request() if answer is None else answer
    except Exception as error:
        return current_app.handle_user_exception(error)
