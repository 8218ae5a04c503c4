"""What is known of a request, kept in its WSGI environment."""

from __future__ import annotations

from typing import Any

from flask import has_request_context, request

KEY = "flask_pool.request"
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}  # RFC 9110, section 9.2.1; TRACE is never routed


class RequestState:
    """What a request did with the database."""

    __slots__ = ("answered", "safe", "seen", "source", "told", "unproven", "uses", "written")

    def __init__(self, *, safe: bool) -> None:
        self.safe = safe
        self.answered = False  # there is a response, whose end is the request's
        self.uses: set[Any] = set()  # of connections that are not returned yet
        self.unproven = False  # more than proven reads was sent to the primary
        # with replicas: positions of the primary's log, and where the request reads from
        self.written = self.seen = ""
        self.source: Any = None
        self.told: Any = None


def current() -> RequestState | None:
    """Return the state of the current request, if there is one."""
    if not has_request_context():
        return None
    environ = request.environ
    found: RequestState | None = environ.get(KEY)
    if found is None:
        found = environ[KEY] = RequestState(safe=environ["REQUEST_METHOD"] in SAFE_METHODS)
    return found
