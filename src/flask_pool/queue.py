"""The queue in front of the application: how long a request waited, and when it is refused.

The rule, per process: T is the larger of the target and the mean time of requests. While every
wait seen within an interval was above T, a request that waited for more than 2 T is refused; at
other times one that waited for more than 10 T. Loads neither Flask nor SQLAlchemy.
"""

from __future__ import annotations

import logging
import re
import socket
import struct
from collections.abc import Callable, Iterable, Mapping
from math import inf
from random import random
from threading import Lock
from time import monotonic, time
from typing import Any

TARGET = 0.1  # seconds; POOL_QUEUE_TARGET
INTERVAL = 0.5  # seconds; POOL_QUEUE_INTERVAL
OVERLOADED, OTHERWISE = 2, 10  # times T
MEMORY = 64  # requests that the moving mean looks back on
TCP, TCP_INFO = int(socket.IPPROTO_TCP), getattr(socket, "TCP_INFO", None)
LAST_DATA_RECV = struct.Struct("@52xI")  # tcpi_last_data_recv in Linux's struct tcp_info
REQUEST_START = re.compile(r"(?:t=)?(\d{9,17}(?:\.\d{1,9})?)", re.ASCII)
LONGEST = 60.0  # seconds: a header that says more comes from another clock
WAITED = "flask_pool.queue"  # key in environ: seconds from arrival to the application
MOST_SECONDS = 10  # of Retry-After

DETAIL = "The service is overloaded. Try again shortly."
PROBLEM = (
    b'{"title": "Service Unavailable", "status": 503, '
    b'"detail": "%s", "reason": "overloaded"}' % DETAIL.encode()
)
PAGE = (
    b'<!doctype html><html lang="en"><title>Service Unavailable</title>'
    b"<h1>Service Unavailable</h1><p>%s</p></html>" % DETAIL.encode()
)

logger = logging.getLogger("gunicorn.error")

Environ = dict[str, Any]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]


def waited(sock: Any) -> float | None:
    """Return the seconds since the last byte arrived on a TCP socket; None where unknown."""
    try:
        info = sock.getsockopt(TCP, TCP_INFO, LAST_DATA_RECV.size)
        return float(LAST_DATA_RECV.unpack(info)[0]) / 1000
    except (AttributeError, OSError, TypeError, struct.error):  # another system; a unix socket
        return None


def since_start(header: str | None) -> float | None:
    """Return the seconds since X-Request-Start (s, ms or us since 1970); None for nonsense."""
    found = REQUEST_START.fullmatch(header.strip()) if header else None
    if found is None:
        return None
    start = float(found[1])
    for factor in (1e6, 1e3):
        if start > 1e8 * factor:  # else it would be before 1974
            start /= factor
            break
    passed = time() - start
    return max(0.0, passed) if -LONGEST < passed < LONGEST else None


class Rule:
    """Decides which requests are refused, and counts them."""

    def __init__(
        self, target: float = TARGET, interval: float = INTERVAL, prefix: str = ""
    ) -> None:
        self.configure(target, interval, prefix)
        self.mean = 0.0  # seconds that a request takes
        self.crowded = False  # the queue is so long that the kernel may soon drop what arrives
        self.refused = 0
        self.since: float | None = None  # the wall clock when the present refusals began
        self.on_wait: list[Callable[[float], object]] = []
        self.on_refusal: list[Callable[[int], object]] = []
        self._took = 0  # requests that the mean is made of
        self._above: float | None = None  # since when every wait seen was above T
        self._seen = -inf  # when the last wait was seen
        self._untold, self._told = 0, -inf  # refusals for the log; when it had the last line
        self._lock = Lock()

    def configure(self, target: float, interval: float, prefix: str = "") -> None:
        """Set the target (0: refuse nothing), the interval and POOL_URL_PREFIX."""
        self.target, self.interval, self.prefix = target, interval, prefix.rstrip("/")

    @property
    def threshold(self) -> float:
        """T, in seconds."""
        return max(self.target, self.mean)

    def overloaded(self, now: float) -> bool:
        """Tell whether every wait within the last interval was above T, or the queue is crowded."""
        if self.crowded:
            return True
        return self._is_above(now) and now - (self._above or now) >= self.interval

    def _is_above(self, now: float) -> bool:
        """Tell whether the last wait seen was above T, and not long ago."""
        return self._above is not None and now - self._seen <= self.interval

    def calm(self, wait: float | None) -> bool:
        """Tell whether a wait is in time and tells the rule nothing that it does not know."""
        return self._above is None and wait is not None and wait <= self.threshold

    def limit(self, now: float) -> float:
        """Return the seconds that a request may have waited."""
        if not self.target:
            return inf
        return self.threshold * (OVERLOADED if self.overloaded(now) else OTHERWISE)

    def refuses(self, wait: float | None, *, sample: bool = True) -> bool:
        """Note the wait of a request, unless it is no `sample`; tell whether to refuse it."""
        if wait is None:
            return False
        now = monotonic()
        with self._lock:
            if sample:
                if wait <= self.threshold:
                    self._above = None
                elif not self._is_above(now):
                    self._above = now
                self._seen = now
            return wait > self.limit(now)

    def took(self, seconds: float) -> None:
        """Note how long a request took, from a thread's taking it to its end."""
        with self._lock:
            self._took = min(self._took + 1, MEMORY)
            self.mean += (seconds - self.mean) / self._took

    def count_wait(self, seconds: float) -> None:
        """Tell listeners how long a request waited."""
        for listener in self.on_wait:
            listener(seconds)

    def count_refusals(self, number: int = 1) -> None:
        """Count refused requests; log at most one line a second."""
        with self._lock:
            self.refused += number
            self._untold += number
            self.since = self.since or time()
        for listener in self.on_refusal:
            listener(number)
        self.tell()

    def tell(self) -> None:
        """Log how many requests were refused, once a second; note when refusals have ended."""
        now = monotonic()
        if self.since is not None and not self.crowded and not self._is_above(now):
            self.since = None
            for listener in self.on_refusal:
                listener(0)
        if not self._untold or now - self._told < 1:
            return
        with self._lock:
            number, self._untold, self._told = self._untold, 0, now
        logger.warning(
            "overloaded: %d request%s refused with 503, T is %.3g s",
            number, "s" * (number != 1), self.threshold,
        )  # fmt: skip

    def exempt(self, path: str) -> bool:
        """Tell whether this is a path that is never refused: probes, metrics, the pool's page."""
        own = path.removeprefix(self.prefix)
        return (
            path.startswith("/healthz/")
            or own.startswith(("/healthz/", "/pool/"))
            or (own in ("/metrics", "/pool", "/pool.json"))
        )


RULE = Rule()  # of this process


def retry_after() -> int:
    """Return seconds, spread so that those refused do not return in step."""
    return 1 + int(random() * MOST_SECONDS)  # noqa: S311


def answer(seconds: int, *, html: bool) -> tuple[list[tuple[str, str]], bytes]:
    """Return headers and body of a refusal, which says when to try again."""
    body = PAGE if html else PROBLEM
    kind = "text/html; charset=utf-8" if html else "application/problem+json"
    headers = [
        ("Content-Type", kind),
        ("Content-Length", str(len(body))),
        ("Retry-After", str(seconds)),
        ("Cache-Control", "no-store"),
    ]
    return headers, body


def init_app(app: Any, settings: Mapping[str, Any]) -> None:
    """Have the rule use these settings, and judge the requests of a Flask application."""
    RULE.configure(
        settings["POOL_QUEUE_TARGET"], settings["POOL_QUEUE_INTERVAL"], settings["POOL_URL_PREFIX"]
    )
    app.wsgi_app = Middleware(app.wsgi_app)


class Middleware:
    """The rule for servers without a worker of ours, as far as they show the socket."""

    def __init__(self, app: Application, rule: Rule = RULE) -> None:
        self.app, self.rule = app, rule

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Refuse the request, or hand it on."""
        if WAITED in environ:  # the worker knows, and has decided
            return self.app(environ, start_response)
        sock = environ.get("gunicorn.socket") or environ.get("werkzeug.socket")  # what servers show
        if sock is None and "HTTP_X_REQUEST_START" not in environ:
            return self.app(environ, start_response)
        told = since_start(environ.get("HTTP_X_REQUEST_START"))
        wait = waited(sock)
        if sock is not None and wait is None:
            wait = told
        if told is not None or wait is not None:
            environ[WAITED] = max(told or 0.0, wait or 0.0)
            self.rule.count_wait(environ[WAITED])
        body = environ.get("CONTENT_LENGTH", "0") not in ("", "0")
        body = body or "HTTP_TRANSFER_ENCODING" in environ
        path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        if self.rule.exempt(path):
            return self.app(environ, start_response)
        if self.rule.refuses(wait, sample=not body):
            self.rule.count_refusals()
            headers, content = answer(
                retry_after(), html="text/html" in environ.get("HTTP_ACCEPT", "")
            )
            start_response("503 Service Unavailable", [*headers, ("Connection", "close")])
            return [] if environ["REQUEST_METHOD"] == "HEAD" else [content]
        began = monotonic()
        try:
            return self.app(environ, start_response)
        finally:
            self.rule.took(monotonic() - began)
