"""Checkouts: who took a connection, what was sent on it, and whether it was returned."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from pathlib import Path
from threading import get_ident
from time import monotonic, perf_counter
from types import CodeType, FrameType
from typing import Any, cast
from weakref import ref

import flask_sqlalchemy
import sqlalchemy
from sqlalchemy.engine import Connection, Dialect, Engine
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection
from werkzeug.wsgi import ClosingIterator

from .connections import USE
from .queue_pool import FairQueuePool
from .requests import KEY, RequestState, current

STARTED = "flask_pool.connect_started"
# the code between a taker and the pool
LIBRARIES = (
    *(
        f"{Path(str(file)).parent}{os.sep}"
        for file in (sqlalchemy.__file__, flask_sqlalchemy.__file__, __file__)
    ),
    str(contextlib.__file__),
    "<",  # code that SQLAlchemy makes
)

logger = logging.getLogger(__name__)

_of_library: dict[str, bool] = {}  # by file, as code objects come and go, and are slow to hash
_ways: list[tuple[int, CodeType, bool]] = []  # depth, function of a library, Connection was made
MOST_WAYS = 16


class Use:
    """One checkout of a connection."""

    leaked_at: float | None = None  # when its request ended without returning it
    warned = False  # held for long, and logged
    reads = 0  # proven reads that were sent
    other = False  # anything else was sent
    began = False  # a session of `db.session` began on it
    failed = False  # a statement failed
    claimed = False  # the view asked its session for the Connection
    # the driver's connection while it is in autocommit for a proven read
    switched: Any = None

    def __init__(self, pool: Any, driver: Any, proxy: PoolProxiedConnection) -> None:
        self.pool = pool
        self.driver = driver  # its connection
        self.proxy = ref(proxy)
        self.thread = get_ident()  # which used it last
        # the code and the line that asked for it, and whether it asked for a Connection
        self.code, self.line, self.by_connection = _asking_line()
        self.request = current()
        self.route = ""
        if self.request is not None:
            self.request.uses.add(self)
            self.route = self.request.route
        self.taken_at = self.used_at = monotonic()

    @property
    def taker(self) -> str:
        """The line that asked for it, in words."""
        return _place(self.code, self.line)

    def start(self) -> None:
        """Note that a statement is about to be sent."""
        self.used_at = monotonic()
        self.thread = get_ident()

    def note_other(self) -> None:
        """Note that more than a proven read is sent."""
        self.other = True
        if self.request is not None:
            self.request.unproven = True


def use_of(connection: Connection) -> Use | None:
    """Return the current use of a connection; None while SQLAlchemy prepares a new one."""
    try:
        found: Use | None = connection.info.get(USE)
    except NotImplementedError:
        return None
    return found


def put_back(use: Use) -> None:
    """Switch autocommit off again, or close the connection if that fails."""
    try:
        use.switched.autocommit = False
    except BaseException as error:
        use.switched.close()
        if not isinstance(error, Exception):
            raise
    use.switched = None


# the pool's events


def connecting(
    dialect: Dialect, record: ConnectionPoolEntry | None, cargs: Any, cparams: Any
) -> None:
    """Note when a connect began; listens to `do_connect`."""
    if record is not None:
        record.info[STARTED] = perf_counter()


def connected(engine: Engine, connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
    """Tell how long a connect took; listens to `connect`."""
    started = record.info.pop(STARTED, None)
    if started is not None:  # not an application's creator
        cast(FairQueuePool, engine.pool).tell("connected", perf_counter() - started)


def taken(
    engine: Engine,
    connection: DBAPIConnection,
    record: ConnectionPoolEntry,
    proxy: PoolProxiedConnection,
) -> None:
    """Note who takes a connection; listens to `checkout`."""
    record.info[USE] = Use(engine.pool, connection, proxy)


def returned(connection: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
    """Have a connection come back as it was handed out; listens to `checkin`."""
    use: Use | None = record.info.pop(USE, None)
    if use is None:
        return
    if use.request is not None:
        use.request.uses.discard(use)
    if use.switched is not None:
        put_back(use)
    if isinstance(use.pool, FairQueuePool):
        use.pool.tell("released", use.route, monotonic() - use.taken_at)


def died(
    engine: Engine,
    connection: DBAPIConnection,
    record: ConnectionPoolEntry,
    exception: BaseException | None,
) -> None:
    """Tell of a connection that died in use; listens to `invalidate`."""
    if exception is not None and not isinstance(exception, DisconnectionError):  # the pool's own
        cast(FairQueuePool, engine.pool).tell("replaced", "died")


def line_of(frame: FrameType) -> str:
    """Return the innermost line outside of the libraries, in words."""
    while frame.f_back is not None and _is_inside(frame.f_code):
        frame = frame.f_back
    return _place(frame.f_code, frame.f_lineno)


def _asking_line() -> tuple[CodeType, int, bool]:
    """Return the innermost line outside of the libraries, and whether a Connection was made.

    Threads come here in a few ways. One is told by its depth and by the function of a library that
    was called from outside; each look makes a frame object, so there are two and not thirty.
    """
    for place, (depth, entered, by_connection) in enumerate(_ways):
        try:
            inner = sys._getframe(depth)  # noqa: SLF001 - documented
        except ValueError:  # not that deep
            continue
        if inner.f_code is entered:
            frame = inner.f_back
            if frame is not None and not _is_inside(frame.f_code):
                if place:  # so that the usual ones come first
                    _ways[place - 1 : place + 1] = _ways[place], _ways[place - 1]
                return frame.f_code, frame.f_lineno, by_connection
    frame, depth, by_connection = sys._getframe(), -1, False  # noqa: SLF001
    while frame.f_back is not None and _is_inside(frame.f_code):
        entered, frame, depth = frame.f_code, frame.f_back, depth + 1
        by_connection = by_connection or entered is Connection.__init__.__code__
    if not _is_inside(frame.f_code):
        _ways[MOST_WAYS - 1 :] = [(depth, entered, by_connection)]
    return frame.f_code, frame.f_lineno, by_connection


def _is_inside(code: CodeType) -> bool:
    inside = _of_library.get(code.co_filename)
    if inside is None:
        inside = _of_library[code.co_filename] = code.co_filename.startswith(LIBRARIES)
    return inside


def _place(code: CodeType, line: int) -> str:
    return f"{code.co_filename}:{line} in {code.co_name}"


# the ends of requests


class Ends:
    """WSGI middleware that logs what a request took by hand and has not returned at its end.

    That is when its response is closed. Hooks of Flask's would cost each request more.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        """Hand the request on."""
        try:
            response = self.app(environ, start_response)
        except BaseException:
            _end(environ)
            raise
        if type(response) is ClosingIterator:  # Werkzeug's; a file goes to the server as it is
            return _Response(response, environ)
        _end(environ)
        return response


class _Response:
    """The body of a response, whose end is the request's."""

    __slots__ = ("_body", "_environ")

    def __init__(self, body: ClosingIterator, environ: dict[str, Any]) -> None:
        self._body, self._environ = body, environ

    def __iter__(self) -> ClosingIterator:
        return self._body

    def close(self) -> None:
        try:
            self._body.close()
        finally:
            _end(self._environ)


def _end(environ: dict[str, Any]) -> None:
    state: RequestState | None = environ.get(KEY)
    if state is None or not state.uses:
        return
    for use in list(state.uses):
        proxy = use.proxy()
        if use.began or proxy is None or not proxy.is_valid or proxy.is_detached:
            continue  # a session's, or returned, or the application's for good
        use.leaked_at = monotonic()
        logger.warning("connection leak: taken at %s, never returned", use.taker)
        if isinstance(use.pool, FairQueuePool):
            use.pool.tell("leaked", use.taker)
    state.uses.clear()
