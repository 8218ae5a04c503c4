"""A service that gunicorn.conf.py starts; the tests change its code."""

from __future__ import annotations

import os

from flask import Flask

CODE = "first"


def create_app() -> Flask:
    """Return an application that tells what it was started with."""
    app = Flask(__name__)

    @app.get("/")
    def index() -> list[str | None]:
        return [CODE, os.environ.get("GREETING"), os.environ.get("SQLALCHEMY_POOL_SIZE")]

    return app
