"""What operators read: metrics for Prometheus; a page that shows the pool, live, and its data."""

from __future__ import annotations

import hmac
import sys
from functools import partial

from flask import Blueprint, Flask, Response, abort, current_app, jsonify, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import NotImplemented as NotInstalled
from werkzeug.exceptions import ServiceUnavailable
from werkzeug.routing import AnyConverter, Map, ValidationError

from . import missing
from .data import exposition, register, snapshot

POLICY = "default-src 'self'; frame-ancestors 'none'"
FIRST, LAST = 0, 1000  # Werkzeug's own converters have weights from 50 to 200

# an application may have a blueprint and templates of its own that are called pool
bp = Blueprint(
    "flask_pool", __name__, template_folder="templates", static_folder="static",
    static_url_path="/pool/static",
)  # fmt: skip


class PageName(AnyConverter):
    """A page's name as a variable part of its URL.

    Werkzeug matches fixed parts of URLs before variable ones, so an application's own page of that
    name wins, whether it is added before or after; and variable parts by weight, so that a page
    of any name (`/<name>`) wins only where ours are closed to everybody.
    """

    def __init__(self, map: Map, *names: str, weight: int) -> None:  # noqa: A002 - Werkzeug's
        super().__init__(map, *names)
        self.weight = weight

    def to_python(self, value: str) -> str:
        """Have nothing match while the pages are closed to everybody, whatever the method."""
        if not are_open(current_app):
            raise ValidationError
        return value


def init_app(app: Flask) -> None:
    """Add the pages, under POOL_URL_PREFIX if there is one."""
    if "prometheus_client" in sys.modules:  # the application may have a page of its own for it
        register()
    if bp.name in app.blueprints:  # an application may get its engines anew
        return
    settings = app.extensions["flask_pool"].settings
    app.url_map.converters["flask_pool_page"] = partial(  # type: ignore[assignment]
        PageName, weight=FIRST if are_open(app) else LAST
    )
    app.register_blueprint(bp, url_prefix=settings["POOL_URL_PREFIX"] or None)


def are_open(app: Flask) -> bool:
    """Tell whether anybody may see the pages."""
    return app.debug or bool(app.extensions["flask_pool"].settings["OPS_TOKEN"])


@bp.errorhandler(OSError)
def unreadable(error: OSError) -> ResponseReturnValue:
    """Say that what the workers share can't be read now."""
    return current_app.handle_http_exception(ServiceUnavailable("Try again shortly."))


@bp.errorhandler(ModuleNotFoundError)
def not_installed(error: ModuleNotFoundError) -> ResponseReturnValue:
    """Say which library a page needs."""
    return current_app.handle_http_exception(NotInstalled(missing(error)))


@bp.get("/<flask_pool_page('metrics'):name>", defaults={"name": "metrics"})
def metrics(name: str) -> Response:
    """The metrics of all workers."""
    require_operator()
    text, content_type = exposition()
    return Response(text, content_type=content_type)


@bp.get("/<flask_pool_page('pool'):name>", defaults={"name": "pool"})
def page(name: str) -> Response:
    """The page; its script asks for the data."""
    require_operator(ask=True)
    response = Response(render_template("flask_pool/pool.html"))
    response.headers["Content-Security-Policy"] = POLICY
    return response


@bp.get("/<flask_pool_page('pool.json'):name>", defaults={"name": "pool.json"})
def data(name: str) -> Response:
    """What the page shows; every count is momentary."""
    require_operator()
    response = jsonify(snapshot())
    response.headers["Cache-Control"] = "no-store"
    return response


# who may look


def require_operator(*, ask: bool = False) -> None:
    """Hide a page from others (404), or `ask` a browser for the token as a password (401)."""
    token = str(current_app.extensions["flask_pool"].settings["OPS_TOKEN"] or "").encode()
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
