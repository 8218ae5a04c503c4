"""What operators read: metrics for Prometheus; a page that shows the pool, live, and its data."""

from __future__ import annotations

import hmac

from flask import Blueprint, Response, abort, current_app, jsonify, render_template, request
from flask.typing import ResponseReturnValue
from prometheus_client import CONTENT_TYPE_LATEST
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import ServiceUnavailable

from .data import exposition, snapshot
from .metrics import show

POLICY = "default-src 'self'; frame-ancestors 'none'"

bp = Blueprint(
    "pool", __name__, template_folder="templates", static_folder="static",
    static_url_path="/pool/static",
)  # fmt: skip


@bp.before_request
def look() -> None:
    """Have this process's own numbers be there from the first look on."""
    show(engine.pool for engine in current_app.extensions["pool"].engines.values())


@bp.errorhandler(OSError)
def unreadable(error: OSError) -> ResponseReturnValue:
    """Say that what the workers share can't be read now."""
    return current_app.handle_http_exception(ServiceUnavailable("Try again shortly."))


@bp.get("/metrics")
def metrics() -> Response:
    """The metrics of all workers."""
    require_operator()
    return Response(exposition(), content_type=CONTENT_TYPE_LATEST)


@bp.get("/pool")
def page() -> Response:
    """The page; its script asks for the data."""
    require_operator(ask=True)
    response = Response(render_template("pool.html"))
    response.headers["Content-Security-Policy"] = POLICY
    return response


@bp.get("/pool.json")
def data() -> Response:
    """What the page shows; every count is momentary."""
    require_operator()
    response = jsonify(snapshot())
    response.headers["Cache-Control"] = "no-store"
    return response


# who may look


def require_operator(*, ask: bool = False) -> None:
    """Hide a page from others (404), or `ask` a browser for the token as a password (401)."""
    token = str(current_app.config.get("OPS_TOKEN") or "").encode()
    if current_app.debug or (token and hmac.compare_digest(_given(), token)):
        return
    if ask and token:
        challenge = WWWAuthenticate("basic", {"realm": "operators", "charset": "UTF-8"})
        abort(401, "The user is anybody, the password is OPS_TOKEN.", www_authenticate=challenge)
    abort(404)


def _given() -> bytes:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip().encode("latin-1", "replace")
    try:
        basic = request.authorization
    except ValueError:  # no base64, or no text in it
        return b""
    if basic is not None and basic.type == "basic":
        return str(basic.password).encode()
    return b""
