"""The user directory as Flask-SQLAlchemy's quick start teaches it, with three kinds of engine."""

from __future__ import annotations

import os
from typing import Any

from flask import Flask, Response, jsonify, request
from flask.typing import ResponseReturnValue
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.pool import NullPool


class Base(DeclarativeBase):
    """The base of all models."""


db = SQLAlchemy(model_class=Base)


class User(db.Model):  # type: ignore[name-defined, misc]
    """A person in the directory."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))


def create_app(engine_options: dict[str, Any]) -> Flask:
    """Build the application."""
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["DATABASE_URL"]
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = engine_options
    db.init_app(app)

    @app.get("/users")
    def index() -> Response:
        limit = request.args.get("limit", 100, int)
        users = db.session.scalars(db.select(User).order_by(User.id).limit(limit)).all()
        return Response(",".join(user.name for user in users), mimetype="text/plain")

    @app.get("/users/<int:user_id>")
    def show(user_id: int) -> Response:
        user = db.get_or_404(User, user_id)
        return jsonify(id=user.id, name=user.name)

    @app.post("/users")
    def create() -> ResponseReturnValue:
        user = User(name=request.get_json()["name"])
        db.session.add(user)
        db.session.commit()
        return jsonify(id=user.id, name=user.name), 201, {"Location": f"/users/{user.id}"}

    return app


def pre_ping() -> Flask:
    """Ask each connection whether it lives before it is used."""
    return create_app({"pool_pre_ping": True})


def defaults() -> Flask:
    """Leave everything as it is."""
    return create_app({})


def unpooled() -> Flask:
    """Open a connection for each request."""
    return create_app({"poolclass": NullPool})
