"""The state of a request, kept in its WSGI environment."""

from __future__ import annotations

from typing import Any

from flask import request

KEY = "flask_pool.request"
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}  # RFC 9110, section 9.2.1; TRACE is never routed


class RequestState:
    """What a request did with the database."""

    route = ""  # as soon as it is known
    unproven = False  # more than proven reads was sent
    trip: Any = None  # with replicas: what it read and wrote

    def __init__(self, *, safe: bool) -> None:
        self.safe = safe
        self.uses: set[Any] = set()  # of connections that are not returned yet


def current() -> RequestState | None:
    """Return the state of the current request, if there is one."""
    try:
        now = request._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001
    except RuntimeError:
        return None
    environ = now.environ
    found: RequestState | None = environ.get(KEY)
    if found is not None and found.route:
        return found
    if found is None:
        found = environ[KEY] = RequestState(safe=environ["REQUEST_METHOD"] in SAFE_METHODS)
    if now.url_rule is not None:
        found.route = now.url_rule.rule
    return found
