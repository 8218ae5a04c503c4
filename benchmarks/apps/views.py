"""The views that are measured, one text for every application that uses SQLAlchemy."""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, jsonify, request
from flask.typing import ResponseReturnValue
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import func, select


def add_views(app: Flask, db: SQLAlchemy, model: Any) -> None:
    """Add what all engines are compared by: a read, a transaction that reads, and one that writes.

    The baked service has them too.
    """

    @app.get("/same")
    def same() -> Response:
        users = db.session.scalars(select(model).order_by(model.id).limit(100))
        return Response(",".join(user.name for user in users), mimetype="text/plain")

    @app.get("/now")
    def now() -> str:
        return str(db.session.scalar(select(func.now())))

    @app.post("/same")
    def post() -> ResponseReturnValue:
        user = model(name=request.get_json()["name"])
        db.session.add(user)
        db.session.flush()
        body = {"id": user.id, "name": user.name}
        db.session.commit()
        return jsonify(body), 201, {"Location": f"/users/{body['id']}"}


def add_sample(app: Flask, db: SQLAlchemy, model: Any) -> None:
    """Add the routes of the baked service, with the statements that it sends."""

    @app.get("/users")
    def index() -> Response:
        limit = request.args.get("limit", 100, int)
        after = request.args.get("after", 0, int)
        page = select(model).where(model.id > after).order_by(model.id).limit(limit + 1)
        users = db.session.scalars(page).all()[:limit]
        return Response(",".join(user.name for user in users), mimetype="text/plain")

    app.add_url_rule("/users", "create", app.view_functions["post"], methods=["POST"])
