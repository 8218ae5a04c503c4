"""Errors as `application/problem+json` (RFC 9457), or as a page for a browser."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flask import Flask, Response, abort, json, render_template, request
from flask.json.provider import DefaultJSONProvider
from werkzeug.exceptions import HTTPException


class JSONProvider(DefaultJSONProvider):
    """Flask's JSON, where a text that is nested too deep is no JSON either: 400."""

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        """Read JSON."""
        try:
            return super().loads(s, **kwargs)
        except RecursionError as error:
            raise ValueError("nested too deep") from error


def init_app(app: Flask) -> None:
    """Give every error one shape and every answer its security headers."""
    app.json = JSONProvider(app)
    app.register_error_handler(HTTPException, problem)
    app.before_request(refuse)
    app.wsgi_app = SecurityHeaders(app)  # type: ignore[method-assign]


def problem(error: HTTPException) -> Response:
    """Describe the error with fixed text: never a driver's message, SQL or a stack."""
    response = Response(status=error.code)
    response.headers.extend(
        (name, value) for name, value in error.get_headers() if name != "Content-Type"
    )
    if wants_html():
        response.content_type = "text/html; charset=utf-8"
        response.set_data(render_template("error.html", error=error))
        return response
    body = {"title": error.name, "status": error.code, "detail": error.description}
    if hasattr(error, "reason"):
        body["reason"] = error.reason
    response.content_type = "application/problem+json"
    response.set_data(json.dumps(body))
    return response


def refuse() -> None:
    """Answer 403 to a form that a page of another site sent, 413 to an endless body."""
    environ = request.environ
    if environ["REQUEST_METHOD"] == "POST" and not request.is_json and not is_own_site():
        abort(403, "This form was sent from another site.")
    if "HTTP_TRANSFER_ENCODING" in environ:  # nobody says how long it is
        request.get_data()
        request.stream.read(1)  # what is left says that it was too long


def is_own_site() -> bool:
    """Tell whether a form was sent by a page of this service, or by no browser."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin", "")
    if site is None:  # an older browser; other clients send neither
        return not origin or origin.partition("://")[2].lower() == request.host.lower()
    return site in ("same-origin", "none")


class SecurityHeaders:
    """Keeps browsers from running or sending anything that is not this service's own.

    WSGI middleware, as `after_request` does not see what a server or a middleware answers.
    """

    def __init__(self, app: Flask) -> None:
        self.config, self.wsgi_app = app.config, app.wsgi_app

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Hand the request on, and add headers that the answer has not."""

        def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
            given = {name.lower() for name, _ in headers}
            policy = self.config["CONTENT_SECURITY_POLICY"]
            added = []
            if policy and "content-security-policy" not in given:  # a view may have its own
                added.append(("Content-Security-Policy", policy))
            if "x-content-type-options" not in given:
                added.append(("X-Content-Type-Options", "nosniff"))
            return start_response(status, [*headers, *added], *error)

        return self.wsgi_app(environ, start)


def wants_html() -> bool:
    """Tell a browser, which names HTML, from a client that takes anything."""
    accepted = request.accept_mimetypes
    return accepted.best_match(("application/json", "text/html")) == "text/html"
