"""Errors as `application/problem+json` (RFC 9457), or as a page for a browser."""

from __future__ import annotations

from http import HTTPStatus

from flask import Flask, Response, json, render_template, request
from werkzeug.exceptions import HTTPException

# nothing from elsewhere, nothing inline; forms post to this service only
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
}


def init_app(app: Flask) -> None:
    """Give every error one shape and every answer its security headers."""
    app.register_error_handler(HTTPException, problem)
    app.after_request(secure)


def problem(error: HTTPException) -> Response:
    """Describe the error with fixed text: never a driver's message, SQL or a stack."""
    response = Response()
    response.headers.extend(
        (name, value) for name, value in error.get_headers() if name != "Content-Type"
    )
    response.status_code = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
    if wants_html():
        response.content_type = "text/html; charset=utf-8"
        response.set_data(render_template("error.html", error=error))
        return response
    response.content_type = "application/problem+json"
    body = {"title": error.name, "status": error.code, "detail": error.description}
    response.set_data(json.dumps(body))
    return response


def secure(response: Response) -> Response:
    """Keep browsers from running or sending anything that is not this service's own."""
    for name, value in SECURITY_HEADERS.items():
        if name not in response.headers:  # a view may have its own
            response.headers.add(name, value)
    return response


def wants_html() -> bool:
    """Tell a browser, which names HTML, from a client that takes anything."""
    accepted = request.accept_mimetypes
    return accepted.best_match(("application/json", "text/html")) == "text/html"
