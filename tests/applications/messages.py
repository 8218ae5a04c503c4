"""A JSON interface: tokens, a loader that writes, followers, pages of results, errors as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from typing import Any

from flask import Blueprint, Flask, abort, g, request
from flask.testing import FlaskClient
from flask.typing import ResponseReturnValue
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Column, ForeignKey, Integer, Select, String, Table, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, WriteOnlyMapped, mapped_column, relationship
from werkzeug.exceptions import HTTPException
from werkzeug.test import TestResponse

View = Callable[..., ResponseReturnValue]


class Base(DeclarativeBase):
    """The base of the models."""


db = SQLAlchemy(model_class=Base)
api = Blueprint("api", __name__, url_prefix="/api")

followers = Table(
    "followers",
    Base.metadata,
    Column("follower_id", Integer, ForeignKey("user.id"), primary_key=True),
    Column("followed_id", Integer, ForeignKey("user.id"), primary_key=True),
)


class User(db.Model):  # type: ignore[misc, name-defined]
    """Somebody who writes and reads messages."""

    __tablename__ = "user"
    id: Mapped[int] = mapped_column(primary_key=True)
    username: Mapped[str] = mapped_column(String(64), unique=True)
    token: Mapped[str] = mapped_column(String(64), index=True)
    seen: Mapped[int] = mapped_column(default=0)
    following: WriteOnlyMapped[User] = relationship(
        secondary=followers,
        primaryjoin=followers.c.follower_id == id,  # noqa: A003
        secondaryjoin=followers.c.followed_id == id,  # noqa: A003
        passive_deletes=True,
    )

    def to_dict(self) -> dict[str, Any]:
        """Return what others may see."""
        return {"id": self.id, "username": self.username, "seen": self.seen}


class Message(db.Model):  # type: ignore[misc, name-defined]
    """What somebody wrote."""

    __tablename__ = "message"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(String(280))
    author_id: Mapped[int] = mapped_column(ForeignKey("user.id"), index=True)
    author: Mapped[User] = relationship()

    def to_dict(self) -> dict[str, Any]:
        """Return it with its author."""
        return {"id": self.id, "text": self.text, "author": self.author.username}


def create_app(config: Mapping[str, Any], attach: Callable[[Flask, SQLAlchemy], object]) -> Flask:
    """Build the application; `attach` stands for `db.init_app`."""
    app = Flask(__name__)
    app.config.from_mapping(config)
    attach(app, db)
    app.register_blueprint(api)
    with app.app_context():
        db.create_all()
    return app


@api.app_errorhandler(HTTPException)
def as_json(error: HTTPException) -> ResponseReturnValue:
    """Answer an error in one shape."""
    return {"code": error.code, "name": error.name, "description": error.description}, (
        error.code or 500
    )


@api.app_errorhandler(IntegrityError)
def conflict(error: IntegrityError) -> ResponseReturnValue:
    """Say that something of the kind is there."""
    db.session.rollback()
    return {"code": 400, "name": type(error).__name__}, 400


def authenticated(view: View) -> View:
    """Load the user of a token, note that they were seen, and refuse others."""

    @wraps(view)
    def wrapped(**arguments: Any) -> ResponseReturnValue:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        g.user = db.session.scalar(select(User).filter_by(token=token)) if token else None
        if g.user is None:
            abort(401)
        g.user.seen += 1
        db.session.commit()
        return view(**arguments)

    return wrapped


def paginated(view: Callable[..., Select[Any]]) -> View:
    """Answer one page of a query, and how many there are."""

    @wraps(view)
    def wrapped(**arguments: Any) -> ResponseReturnValue:
        query = view(**arguments)
        limit, offset = (request.args.get(name, 2, type=int) for name in ("limit", "offset"))
        total = db.session.scalar(select(func.count()).select_from(query.subquery()))
        found = db.session.scalars(query.limit(limit).offset(offset)).all()
        return {"data": [each.to_dict() for each in found], "total": total}

    return wrapped


@api.post("/users")
def add_user() -> ResponseReturnValue:
    """Make an account."""
    given = request.get_json()
    if "username" not in given:
        abort(400, "username is missing")
    user = User(username=given["username"], token=f"token of {given['username']}")
    db.session.add(user)
    db.session.commit()
    return user.to_dict(), 201


@api.get("/users")
@authenticated
@paginated
def all_users() -> Select[Any]:
    """All users."""
    return select(User).order_by(User.username)


@api.get("/me")
@authenticated
def me() -> ResponseReturnValue:
    """Who asks."""
    user: User = g.user
    return user.to_dict()


@api.post("/me/following/<int:number>")
@authenticated
def follow(number: int) -> ResponseReturnValue:
    """Follow somebody."""
    other = db.session.get(User, number) or abort(404)
    if db.session.scalar(g.user.following.select().where(User.id == other.id)):
        abort(409)
    g.user.following.add(other)
    db.session.commit()
    return "", 204


@api.post("/messages")
@authenticated
def write() -> ResponseReturnValue:
    """Write a message."""
    message = Message(text=request.get_json()["text"], author=g.user)
    db.session.add(message)
    db.session.commit()
    return message.to_dict(), 201


@api.put("/messages/<int:number>")
@authenticated
def change(number: int) -> ResponseReturnValue:
    """Change a message of one's own."""
    message = db.session.get(Message, number) or abort(404)
    if message.author is not g.user:
        abort(403)
    message.text = request.get_json()["text"]
    db.session.commit()
    return message.to_dict()


@api.get("/timeline")
@authenticated
@paginated
def timeline() -> Select[Any]:
    """What those wrote whom one follows."""
    followed = select(followers.c.followed_id).where(followers.c.follower_id == g.user.id)
    return select(Message).where(Message.author_id.in_(followed)).order_by(Message.id.desc())


def visit(client: FlaskClient) -> Iterator[TestResponse]:
    """Use the interface as its clients do."""
    ann, ben = ({"Authorization": f"Bearer token of {name}"} for name in ("ann", "ben"))
    for name in ("ann", "ben", "cat", "ann"):
        yield client.post("/api/users", json={"username": name})
    yield client.post("/api/users", json={})
    yield client.get("/api/me")
    yield client.get("/api/me", headers=ann)
    for number in (2, 2, 9, 3):
        yield client.post(f"/api/me/following/{number}", headers=ann)
    for text in ("one", "two's %s", "three"):
        yield client.post("/api/messages", json={"text": text}, headers=ben)
    yield client.put("/api/messages/1", json={"text": "ONE"}, headers=ben)
    yield client.put("/api/messages/1", json={"text": "no"}, headers=ann)
    yield client.put("/api/messages/9", json={"text": "no"}, headers=ann)
    yield client.get("/api/timeline?limit=2&offset=0", headers=ann)
    yield client.get("/api/timeline?limit=2&offset=2", headers=ann)
    yield client.get("/api/timeline", headers=ben)
    yield client.get("/api/users?offset=1", headers=ben)
    yield client.open("/api/users", method="HEAD", headers=ben)
    yield client.get("/api/me", headers=ann)
