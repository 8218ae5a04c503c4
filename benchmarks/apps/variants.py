"""The baked service with one thing taken out, to see what that thing costs."""

from __future__ import annotations

import os
from importlib import import_module

from flask import Flask
from sqlalchemy.pool import QueuePool


def plain_pool() -> Flask:
    """Serve from a plain QueuePool of the same numbers: no checks, no metrics."""
    return _create_app(SQLALCHEMY_ENGINE_OPTIONS={"poolclass": QueuePool})


def unmeasured() -> Flask:
    """Serve from the service's own pool, but count and time nothing."""
    app = _create_app()
    app.extensions["pool"].engines["default"].pool.observers.clear()
    return app


def _create_app(**settings: object) -> Flask:
    app: Flask = import_module(os.environ["FLASK_APP"]).create_app(settings)
    return app
