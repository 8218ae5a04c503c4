"""Errors as `application/problem+json` (RFC 9457), or as a page for a browser."""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, abort, current_app, json, render_template, request
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
    app.after_request(secure)


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
    if request.method == "POST" and not request.is_json and not is_own_site():
        abort(403, "This form was sent from another site.")
    if "HTTP_TRANSFER_ENCODING" in request.environ:  # nobody says how long it is
        request.get_data()
        request.stream.read(1)  # what is left says that it was too long


def is_own_site() -> bool:
    """Tell whether a form was sent by a page of this service, or by no browser."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin", "")
    if site is None:  # an older browser; other clients send neither
        return not origin or origin.partition("://")[2].lower() == request.host.lower()
    return site in ("same-origin", "none")


def secure(response: Response) -> Response:
    """Keep browsers from running or sending anything that is not this service's own."""
    policy = current_app.config["CONTENT_SECURITY_POLICY"]
    if policy and "Content-Security-Policy" not in response.headers:  # a view may have its own
        response.headers.add("Content-Security-Policy", policy)
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def wants_html() -> bool:
    """Tell a browser, which names HTML, from a client that takes anything."""
    accepted = request.accept_mimetypes
    return accepted.best_match(("application/json", "text/html")) == "text/html"
