"""The user directory."""

from __future__ import annotations

import re
import unicodedata
from typing import Any
from urllib.parse import unquote_to_bytes

from flask import (
    Blueprint,
    Response,
    abort,
    current_app,
    jsonify,
    redirect,
    render_template,
    request,
    url_for,
)
from sqlalchemy import select
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as BaseResponse

from .db import db
from .errors import wants_html
from .models import LARGEST_ID, NAME_LENGTH, User

TEXT = "text/plain; charset=utf-8"
FORM = "application/x-www-form-urlencoded"
LIMIT, MOST = 100, 1000

bp = Blueprint("users", __name__)


@bp.get("/")
def home() -> str:
    """The newest users, and a form that adds one."""
    users = db.session.scalars(select(User).order_by(User.id.desc()).limit(LIMIT + 1)).all()
    return render_template(
        "index.html",
        users=users[:LIMIT],
        more=len(users) > LIMIT,
        name_length=NAME_LENGTH,
        pool_page=pool_page(),
    )


@bp.get("/users")
def index() -> Response:
    """The names in order of id, a page at a time, as text or JSON."""
    limit = number("limit", LIMIT, 1, MOST)
    after = number("after", 0, 0, LARGEST_ID)
    page = select(User).order_by(User.id).limit(limit + 1)
    if after:
        page = page.where(User.id > after)
    found = db.session.scalars(page).all()
    users, more = found[:limit], len(found) > limit
    following = url_for(".index", limit=limit, after=users[-1].id) if more else None
    if wants_json():
        response = jsonify(users=[as_json(user) for user in users], next=following)
    else:
        response = Response(",".join(user.name for user in users), content_type=TEXT)
    response.vary.add("Accept")
    if following:
        response.headers["Link"] = f'<{following}>; rel="next"'
    return response


@bp.post("/users")
def create() -> BaseResponse | tuple[Response, int, dict[str, str]]:
    """Add a user."""
    user = User(name=checked_name())
    db.session.add(user)
    db.session.flush()
    body = as_json(user)
    db.session.commit()
    if request.form and wants_html():
        return redirect(url_for(".home"), 303)
    return jsonify(body), 201, {"Location": url_for(".show", user_id=body["id"])}


@bp.get("/users/<user_id>")
def show(user_id: str) -> Response:
    """One user."""
    known = whole_number(user_id)
    user = db.session.get(User, known) if known is not None else None
    return jsonify(as_json(user or abort(404)))


def as_json(user: User) -> dict[str, Any]:
    """Return what clients see of a user."""
    return {"id": user.id, "name": user.name}


def number(name: str, default: int, low: int, high: int) -> int:
    """Return a whole number from the query string, or answer 400."""
    given = request.args.get(name)
    found = default if given is None else whole_number(given)
    if found is None or not low <= found <= high:
        abort(400, f"{name}: a whole number from {low} to {high}")
    return found


def whole_number(text: str) -> int | None:
    """Return the number that an id may be, if the text is one as people write it."""
    found = int(text) if re.fullmatch("0|[1-9][0-9]{0,18}", text) else None
    return found if found is not None and found <= LARGEST_ID else None


def checked_name() -> str:
    """Return the name from the JSON or form of a request, or answer 400."""
    if not request.is_json:
        refuse_other_sites()
    try:
        data = request.get_data()
        request.stream.read(1)  # 413: what has no length was cut at the limit, and nobody told
    except HTTPException:
        raise
    except Exception:  # a server's own, for chunks that are none
        abort(400)
    try:
        # Werkzeug would leave as %XX, or replace, what is no UTF-8
        (unquote_to_bytes(data) if request.mimetype == FORM else data).decode()
        body: Any = request.get_json() if request.is_json else request.form
    except (RecursionError, UnicodeDecodeError):
        abort(400)
    name = body.get("name") if hasattr(body, "get") else None
    name = name.strip() if isinstance(name, str) else ""
    odd = any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name)
    if not 1 <= len(name) <= NAME_LENGTH or odd:
        abort(400, f"name: 1 to {NAME_LENGTH} characters, none of them control characters")
    return name


def refuse_other_sites() -> None:
    """Answer 403 to a form that a page of another site sent."""
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    if site:
        own = site in ("same-origin", "none")
    else:  # an older browser; other clients send neither
        own = origin is None or origin.partition("://")[2].lower() == request.host.lower()
    if not own:
        abort(403, "This form was sent from another site.")


def wants_json() -> bool:
    """Tell whether the client asked for JSON; else it gets text."""
    accepted = request.accept_mimetypes
    return accepted.best_match(("text/plain", "application/json")) == "application/json"


def pool_page() -> str | None:
    """Return the address of the pool's page where it can be opened."""
    if not current_app.debug and not current_app.config["OPS_TOKEN"]:
        return None
    rules = current_app.url_map.iter_rules()
    return next((url_for(rule.endpoint) for rule in rules if rule.rule == "/pool"), None)
