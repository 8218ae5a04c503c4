"""The user directory by hand: Flask and psycopg_pool, no ORM, the same checks and answers."""

from __future__ import annotations

import atexit
import os

from flask import Flask, Response, abort, jsonify, request
from flask.typing import ResponseReturnValue
from psycopg_pool import ConnectionPool

INDEX = "SELECT name FROM users WHERE id > %s ORDER BY id LIMIT %s"
CREATE = "INSERT INTO users (name) VALUES (%s) RETURNING id"


def create_app(*, autocommit: bool) -> Flask:
    """Build the application; its pool has the size of the baked service's."""
    app = Flask(__name__)
    conninfo = os.environ["SQLALCHEMY_DATABASE_URI"].replace("+psycopg", "")
    pool = ConnectionPool(
        conninfo, min_size=5, max_size=15, open=True, kwargs={"autocommit": autocommit}
    )
    atexit.register(pool.close)

    @app.get("/same")
    @app.get("/users")
    def index() -> Response:
        limit = request.args.get("limit", 100, int)
        after = request.args.get("after", 0, int)
        with pool.connection() as connection:
            rows = connection.execute(INDEX, (after, limit)).fetchall()
        return Response(",".join(name for (name,) in rows), mimetype="text/plain")

    @app.post("/users")
    def create() -> ResponseReturnValue:
        name = request.get_json()["name"].strip()
        if not 1 <= len(name) <= 50:
            abort(400)
        with pool.connection() as connection:
            row = connection.execute(CREATE, (name,)).fetchone()
        if row is None:
            abort(500)
        return jsonify(id=row[0], name=name), 201, {"Location": f"/users/{row[0]}"}

    return app


def documented() -> Flask:
    """Work as psycopg_pool's documentation shows it: each `with` block is a transaction."""
    return create_app(autocommit=False)


def autocommit() -> Flask:
    """Work as an expert may: one statement needs no transaction around it."""
    return create_app(autocommit=True)
