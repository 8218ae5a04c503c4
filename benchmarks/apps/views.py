"""The views that are measured, one text for every application that uses SQLAlchemy."""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, abort, jsonify, request
from flask.typing import ResponseReturnValue
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import select


def add_view(app: Flask, db: SQLAlchemy, model: Any) -> None:
    """Add the view that all engines are compared by."""

    @app.get("/same")
    def same() -> Response:
        users = db.session.scalars(select(model).order_by(model.id).limit(100))
        return Response(",".join(user.name for user in users), mimetype="text/plain")


def add_sample(app: Flask, db: SQLAlchemy, model: Any) -> None:
    """Add the routes of the baked service, with the statements that it sends."""

    @app.get("/users")
    def index() -> Response:
        limit = request.args.get("limit", 100, int)
        after = request.args.get("after", 0, int)
        page = select(model).where(model.id > after).order_by(model.id).limit(limit + 1)
        users = db.session.scalars(page).all()[:limit]
        return Response(",".join(user.name for user in users), mimetype="text/plain")

    @app.get("/users/<int:user_id>")
    def show(user_id: int) -> Response:
        user = db.session.get(model, user_id) or abort(404)
        return jsonify(id=user.id, name=user.name)

    @app.post("/users")
    def create() -> ResponseReturnValue:
        user = model(name=request.get_json()["name"])
        db.session.add(user)
        db.session.flush()
        body = {"id": user.id, "name": user.name}
        db.session.commit()
        return jsonify(body), 201, {"Location": f"/users/{body['id']}"}
