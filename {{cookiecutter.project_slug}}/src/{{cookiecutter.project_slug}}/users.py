"""The user directory."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from flask import Blueprint, Response, abort, jsonify, redirect, render_template, request, url_for
from sqlalchemy import bindparam, select
from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header
from werkzeug.wrappers import Response as BaseResponse

from .db import db
from .errors import wants_html
from .models import NAME_LENGTH, User
from .pool.transactions import reading

TEXT = "text/plain; charset=utf-8"
LIMIT, MOST = 100, 1000
LARGEST_ID = 2**31 - 1

# made once, and of the table's columns: the model's take longer to find in SQLAlchemy's cache
_user = User.__table__.c
PAGE = (
    select(_user.id, _user.name)
    .where(_user.id > bindparam("after"))
    .order_by(_user.id)
    .limit(bindparam("limit"))
)
ONE = select(_user.id, _user.name).where(_user.id == bindparam("id"))

bp = Blueprint("users", __name__)


@bp.get("/")
def home() -> str:
    """All users, and a form that adds one."""
    users = db.session.execute(select(User.id, User.name).order_by(User.id)).all()
    return render_template("index.html", users=users, name_length=NAME_LENGTH)


@bp.get("/users")
def index() -> Response:
    """The names in order of id, a page at a time, as text or JSON."""
    limit = number("limit", LIMIT, 1, MOST)
    found = page(limit + 1, number("after", 0, 0, LARGEST_ID))
    users, more = found[:limit], len(found) > limit
    following = url_for(".index", limit=limit, after=users[-1].id) if more else None
    if wants_json():
        body = [{"id": user.id, "name": user.name} for user in users]
        response = jsonify(users=body, next=following)
    else:
        response = Response(",".join(user.name for user in users), content_type=TEXT)
    if following:
        response.headers["Link"] = f'<{following}>; rel="next"'
    return response


@bp.post("/users")
def create() -> BaseResponse | tuple[Response, int, dict[str, str]]:
    """Add a user."""
    user = User(name=checked_name())
    db.session.add(user)
    db.session.flush()
    body = {"id": user.id, "name": user.name}
    db.session.commit()
    if request.form and wants_html():
        return redirect(url_for(".home"), 303)
    return jsonify(body), 201, {"Location": url_for(".show", user_id=body["id"])}


@bp.get(f"/users/<int(max={LARGEST_ID}):user_id>")
def show(user_id: int) -> Response:
    """One user."""
    with reading(db.engine) as connection:
        user = connection.execute(ONE, {"id": user_id}).first() or abort(404)
    return jsonify(id=user.id, name=user.name)


def page(limit: int, after: int) -> Sequence[Any]:
    """Return up to `limit` users whose id is above `after`."""
    with reading(db.engine) as connection:
        return connection.execute(PAGE, {"limit": limit, "after": after}).all()


def number(name: str, default: int, low: int, high: int) -> int:
    """Return a whole number from the query string, or answer 400."""
    if name not in request.args:
        return default
    given = request.args[name]
    if not (given.isascii() and given.isdigit() and low <= int(given[:20]) <= high):
        abort(400, f"{name}: a whole number from {low} to {high}")
    return int(given)


def checked_name() -> str:
    """Return the name from the JSON or form of a request, or answer 400."""
    body: Any = request.get_json() if request.is_json else request.form
    name = body.get("name") if hasattr(body, "get") else None
    name = name.strip() if isinstance(name, str) else ""
    odd = any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name)
    if not 1 <= len(name) <= NAME_LENGTH or odd:
        abort(400, f"name: 1 to {NAME_LENGTH} characters, none of them control characters")
    return name


def wants_json() -> bool:
    """Tell whether the client asked for JSON; else it gets text."""
    return prefers_json(request.headers.get("Accept", ""))


@lru_cache(maxsize=256)
def prefers_json(accept: str) -> bool:
    """Tell what an Accept header asks for; clients send the same few again and again."""
    accepted = parse_accept_header(accept, MIMEAccept)
    return accepted.best_match(("text/plain", "application/json")) == "application/json"
