"""Errors as `application/problem+json` (RFC 9457), or as a page for a browser."""

from __future__ import annotations

from flask import Flask, Response, current_app, json, render_template, request
from werkzeug.exceptions import HTTPException


def init_app(app: Flask) -> None:
    """Give every error one shape and every answer its security headers."""
    app.register_error_handler(HTTPException, problem)
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


def secure(response: Response) -> Response:
    """Keep browsers from running or sending anything that is not this service's own."""
    policy = current_app.config["CONTENT_SECURITY_POLICY"]
    if policy:
        response.headers.setdefault("Content-Security-Policy", policy)  # a view may have its own
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    return response


def wants_html() -> bool:
    """Tell a browser, which names HTML, from a client that takes anything."""
    accepted = request.accept_mimetypes
    return accepted.best_match(("application/json", "text/html")) == "text/html"
