"""What surrounds a request: one more try when its connection dies, and nothing left behind."""

from __future__ import annotations

import contextlib
import gc
import logging
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from itertools import chain
from pathlib import Path
from queue import Queue, SimpleQueue
from types import CellType, FrameType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

import flask_sqlalchemy
import sqlalchemy
from flask import Flask, Response, current_app, has_app_context, has_request_context, request
from sqlalchemy.engine import Connection
from sqlalchemy.pool import PoolProxiedConnection
from werkzeug.wsgi import ClosingIterator

from .observer import Observer

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from .queue_pool import FairQueuePool

View = TypeVar("View", bound=Callable[..., Any])

UNKNOWN = "?"  # a position of which only the primary is sure
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}  # RFC 9110, section 9.2.1; TRACE is never routed
# the code between a taker and the pool
LIBRARIES = (
    *(str(Path(str(library.__file__)).parent) for library in (sqlalchemy, flask_sqlalchemy)),
    str(Path(__file__).parent),
    str(contextlib.__file__),
    "<",  # code that SQLAlchemy makes
)
FAR = 7  # references between a connection and a thread's variable, at most
LASTING = (FrameType, ModuleType, FunctionType, CellType, type, Flask)  # what leads everywhere
WAITING = (threading.Thread, Queue, SimpleQueue)  # for a thread that is to come

logger = logging.getLogger(__name__)


class Attempt:
    """One run of a request, and what it did with the database."""

    __slots__ = (
        "died", "once", "readers", "safe", "seen", "source", "streams", "taken", "told",
        "transaction", "unread", "writer", "written",
    )  # fmt: skip

    def __init__(self, *, safe: bool) -> None:
        self.safe = safe
        # of sessions that began by themselves; whether something was read without a transaction
        self.readers: dict[Connection, bool] = {}
        self.writer: Any = None  # the connection that takes SQLite's write lock
        self.transaction = False  # anything but reads that need none
        self.died = False  # a connection of it
        self.once = False  # its view is not to run again
        self.unread = True  # the request's body
        self.streams = True  # until the response says that it does not
        self.taken: list[tuple[PoolProxiedConnection, FairQueuePool, str]] = []
        # with replicas: positions of the primary's log, and where the request reads from
        self.written = self.seen = ""
        self.source: Any = None
        self.told: Any = None

    def may_run_again(self) -> bool:
        """Tell whether all of it can be done once more, as if for the first time."""
        return self.died and self.unread and not self.transaction and not self.once


current: ContextVar[Attempt | None] = ContextVar("pool_request", default=None)


def note_transaction() -> None:
    """Note that the current request, if any, did more than read."""
    attempt = current.get()
    if attempt is not None:
        attempt.transaction = True


def note_commit(position: str | None) -> None:
    """Note where the primary's log is after something was committed."""
    attempt = current.get()
    if attempt is not None:
        attempt.written = position or UNKNOWN


def note_seen(position: str | None) -> None:
    """Note where the primary's log is after it was read."""
    attempt = current.get()
    if attempt is not None:
        attempt.seen = position or UNKNOWN


def note_death() -> None:
    """Note that a connection of the current request, if any, is gone."""
    attempt = current.get()
    if attempt is not None:
        attempt.died = True
        if has_request_context():
            view = current_app.view_functions.get(request.endpoint or "")
            attempt.once = getattr(view, "run_once", False)


def run_once(view: View) -> View:
    """Have this view's request never run again: it does something outside of the database."""
    view.run_once = True  # type: ignore[attr-defined]
    return view


class Requests:
    """The WSGI application, around which each request is watched."""

    def __init__(self, app: Flask, observers: Iterable[Observer]) -> None:
        self.wsgi_app: WSGIApplication = app.wsgi_app
        self.observers = observers
        app.after_request(_note_streaming)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve a request; a safe one once more if its connection dies before the first byte."""
        safe = environ["REQUEST_METHOD"] in SAFE_METHODS
        if not safe:
            return self._serve(environ, start_response, Attempt(safe=False))
        attempt, again = Attempt(safe=True), dict(environ)
        if environ.get("CONTENT_LENGTH") or "HTTP_TRANSFER_ENCODING" in environ:
            environ["wsgi.input"] = _Unread(environ["wsgi.input"], attempt)
        held = _Held(start_response)
        try:
            body = self._serve(environ, held, attempt)
        except Exception:
            if not attempt.may_run_again():
                raise
        else:
            if not attempt.may_run_again():
                held.let_go()
                return body
            _close(body)
        for observer in self.observers:
            observer.retried()
        return self._serve(again, start_response, Attempt(safe=True))

    def _serve(
        self, environ: WSGIEnvironment, start_response: StartResponse, attempt: Attempt
    ) -> Iterable[bytes]:
        token = current.set(attempt)
        try:
            body = self.wsgi_app(environ, start_response)
            if attempt.streams:
                body = self._first_part(environ, body, attempt)
        except BaseException:
            _recover(attempt)
            raise
        finally:
            current.reset(token)
        if not attempt.streams:
            _recover(attempt)
        return body

    def _first_part(
        self, environ: WSGIEnvironment, body: Iterable[bytes], attempt: Attempt
    ) -> Iterable[bytes]:
        """Have a streamed answer begin, as its connection may die before its first byte."""
        wrapper = environ.get("wsgi.file_wrapper")
        if isinstance(wrapper, type) and isinstance(body, wrapper):  # left to the server
            attempt.streams = False
            return body
        parts = iter(body)
        try:
            first = next(parts, b"")
        except BaseException:
            _close(body)
            raise
        return ClosingIterator(
            chain((first,), parts), [lambda: _close(body), lambda: _recover(attempt)]
        )


class _Held:
    """A start_response that waits until the answer is known to be the one that is sent."""

    def __init__(self, start_response: StartResponse) -> None:
        self.start_response = start_response
        self.said: tuple[Any, ...] | None = None

    def __call__(self, *said: Any) -> Callable[[bytes], object]:
        self.said = said
        return lambda data: self.let_go()(data)

    def let_go(self) -> Callable[[bytes], object]:
        said, self.said = self.said, None
        return self.start_response(*said) if said else lambda data: None


class _Unread:
    """A request's body, which notes that somebody looks at it."""

    def __init__(self, stream: Any, attempt: Attempt) -> None:
        self._stream = stream
        self._attempt = attempt

    def __getattr__(self, name: str) -> Any:
        self._attempt.unread = False
        return getattr(self._stream, name)

    def __iter__(self) -> Iterator[bytes]:
        self._attempt.unread = False
        return iter(self._stream)


def _close(body: Iterable[bytes]) -> None:
    close = getattr(body, "close", None)
    if close is not None:
        close()


def _note_streaming(response: Response) -> Response:
    attempt = current.get()
    if attempt is not None:
        attempt.streams = response.is_streamed
    return response


# forgotten connections


def note_taken(pool: FairQueuePool, connection: PoolProxiedConnection) -> None:
    """Remember who takes a connection in the current request."""
    attempt = current.get()
    if attempt is not None:
        attempt.taken.append((connection, pool, _taker(sys._getframe(1))))


def _taker(frame: FrameType) -> str:
    """Return the line that asked for a connection."""
    while frame.f_code.co_filename.startswith(LIBRARIES) and frame.f_back is not None:
        frame = frame.f_back
    code = frame.f_code
    return f"{code.co_filename}:{frame.f_lineno} in {code.co_name}"


def _recover(attempt: Attempt) -> None:
    """Give back what the request took and never returned, unless another thread uses it."""
    taken, attempt.taken = attempt.taken, []
    if has_app_context():  # somebody else's, around the request: what it took may go on with it
        return
    while taken:
        connection, pool, taker = taken.pop()
        if not connection.is_valid or connection.is_detached or _used_elsewhere(connection):
            continue
        pool.tell("leaked", taker)
        logger.warning("connection leak: taken at %s, never closed; now given back", taker)
        connection.close()


def _used_elsewhere(connection: PoolProxiedConnection) -> bool:
    """Tell whether a variable of another thread leads to the connection."""
    leading: dict[int, Any] = {}  # to the connection
    near: list[Any] = [connection]
    for _ in range(FAR):
        leading |= {id(each): each for each in near}
        referrers = gc.get_referrers(*near)
        near = [each for each in referrers if not isinstance(each, LASTING)]
        near = [each for each in near if id(each) not in leading and each is not leading]
    if any(isinstance(each, WAITING) for each in leading.values()):
        return True
    # looked at last: what waited for a thread until now, the thread has in a variable
    frames = sys._current_frames()
    frames.pop(threading.get_ident(), None)
    for top in frames.values():
        frame: FrameType | None = top
        while frame is not None:
            if any(id(each) in leading for each in frame.f_locals.values()):
                return True
            frame = frame.f_back
    return False
