"""The pool, live: a page for people and its data."""

from __future__ import annotations

from flask import Blueprint, Response, current_app, jsonify, render_template

from .metered import MeteredPool
from .metrics import require_operator

bp = Blueprint("page", __name__)


@bp.get("/pool")
def show() -> str:
    """The page."""
    require_operator()
    return render_template("pool.html", pools=snapshot())


@bp.get("/pool.json")
def data() -> Response:
    """What the page shows; every count is momentary."""
    require_operator()
    return jsonify(pools=snapshot())


def snapshot() -> list[dict[str, int | str]]:
    """Return this process's pools as they are now."""
    return [
        {
            "name": name,
            "size": pool.size(),
            "capacity": pool.gate.capacity,
            "checkedout": pool.checkedout(),
            "checkedin": pool.checkedin(),
            "waiting": pool.gate.waiting,
        }
        for name, engine in current_app.extensions["pool"].engines.items()
        if isinstance(pool := engine.pool, MeteredPool)
    ]
