"""The user directory."""

from __future__ import annotations

import re

from flask import (
    Blueprint,
    Response,
    abort,
    jsonify,
    redirect,
    render_template,
    request,
    url_for,
)
from flask.typing import ResponseReturnValue
from sqlalchemy import select

from .db import db
from .errors import wants_html
from .models import LARGEST_ID, NAME_LENGTH, User

# no control characters, and no halves of a pair, which are no text
NAME = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
DIGITS = re.compile("0|[1-9][0-9]{0,18}")
TYPES = ("text/plain", "application/json")
PAGE, LARGEST_PAGE = 100, 1000

bp = Blueprint("users", __name__)


@bp.get("/")
def home() -> str:
    """The newest users, and a form that adds one."""
    users = db.session.scalars(select(User).order_by(User.id.desc()).limit(PAGE)).all()
    return render_template("index.html", users=users, page=PAGE, name_length=NAME_LENGTH)


@bp.get("/users")
def index() -> Response:
    """The names in order of id, a page at a time, as text or JSON."""
    limit = whole_number("limit", PAGE, 1, LARGEST_PAGE)
    after = whole_number("after", 0, 0, LARGEST_ID)
    page = select(User).where(User.id > after).order_by(User.id).limit(limit + 1)
    found = db.session.scalars(page).all()
    users, more = found[:limit], len(found) > limit
    following = url_for(".index", limit=limit, after=users[-1].id) if more else None
    if request.accept_mimetypes.best_match(TYPES) == "application/json":
        response = jsonify(users=[user.as_dict() for user in users], next=following)
    else:
        response = Response(",".join(user.name for user in users), mimetype="text/plain")
    response.vary.add("Accept")
    if following:
        response.headers["Link"] = f'<{following}>; rel="next"'
    return response


@bp.post("/users")
def create() -> ResponseReturnValue:
    """Add a user."""
    user = User(name=given_name())
    db.session.add(user)
    db.session.flush()  # numbers the user, who would be read again after the commit
    body, location = user.as_dict(), url_for(".show", user_id=user.id)
    db.session.commit()
    if request.form and wants_html():
        return redirect(url_for(".home"), 303)
    return body, 201, {"Location": location}


@bp.get("/users/<user_id>")
def show(user_id: str) -> ResponseReturnValue:
    """One user."""
    if not DIGITS.fullmatch(user_id) or int(user_id) > LARGEST_ID:
        abort(404)
    return db.get_or_404(User, int(user_id)).as_dict()


def whole_number(name: str, default: int, low: int, high: int) -> int:
    """Return a number from the query string, or answer 400."""
    given = request.args.get(name, str(default))
    if not DIGITS.fullmatch(given) or not low <= int(given) <= high:
        abort(400, f"{name}: a whole number from {low} to {high}")
    return int(given)


def given_name() -> str:
    """Return the name from the JSON or the form of a request, or answer 400."""
    body = request.get_json() if request.is_json else request.form
    name = body.get("name") if isinstance(body, dict) else None
    name = name.strip() if isinstance(name, str) else ""
    if not NAME.fullmatch(name) or len(name) > NAME_LENGTH:
        abort(400, f"name: 1 to {NAME_LENGTH} characters, none of them control characters")
    return name
