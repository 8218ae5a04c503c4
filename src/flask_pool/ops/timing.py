"""Server-Timing: how long a response waited for the pool and for the database."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from time import perf_counter
from typing import Any

from flask import Flask, Response, has_request_context, request
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine, ExceptionContext

from .. import queue
from ..observer import Observer
from ..queue_pool import FairQueuePool

SPENT = "pool.spent.{}"
BEGAN = "timing_began"


def init_app(app: Flask, engines: Iterable[Engine]) -> None:
    """Time the pools and databases of each request, if SERVER_TIMING says so."""
    if not app.extensions["flask_pool"].settings["SERVER_TIMING"]:
        return
    for engine in engines:
        if isinstance(engine.pool, FairQueuePool):
            engine.pool.observers.append(_Waits())
        event.listen(engine, "before_cursor_execute", _begin)
        event.listen(engine, "after_cursor_execute", lambda connection, *_: _stop(connection.info))
        event.listen(engine, "handle_error", _failed)
        # a commit has an event before it only; giving the connection back comes right after
        event.listen(engine, "commit", _begin)
        event.listen(engine, "checkin", lambda connection, record: _stop(record.info))
    app.after_request(_tell)


class _Waits(Observer):
    def checked_out(self, pool: FairQueuePool, waited: float) -> None:
        _spend("pool", waited)

    timed_out = checked_out


def _begin(connection: Connection, *_: Any) -> None:
    connection.info[BEGAN] = perf_counter()


def _failed(context: ExceptionContext) -> None:
    if context.connection is not None and not context.connection.invalidated:
        with suppress(NotImplementedError):  # of a new one, which SQLAlchemy prepares
            _stop(context.connection.info)


def _stop(info: Any) -> None:
    began = info.pop(BEGAN, None)
    if began is not None:
        _spend("db", perf_counter() - began)


def _spend(what: str, seconds: float) -> None:
    if has_request_context():
        key = SPENT.format(what)
        request.environ[key] = request.environ.get(key, 0.0) + seconds


def _tell(response: Response) -> Response:
    """Say in a header what the browser's network panel shows, in milliseconds."""
    spent = {what: request.environ.get(SPENT.format(what), 0.0) for what in ("pool", "db")}
    if request.environ.get(queue.WAITED) is not None:
        spent = {"queue": request.environ[queue.WAITED]} | spent
    timings = ", ".join(f"{what};dur={seconds * 1000:.2f}" for what, seconds in spent.items())
    response.headers.add("Server-Timing", timings)
    return response
