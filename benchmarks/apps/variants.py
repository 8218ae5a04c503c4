"""The baked service with the view that is compared, and with one thing taken out."""

from __future__ import annotations

import os
from importlib import import_module

from flask import Flask
from sqlalchemy.pool import QueuePool

from benchmarks.apps.views import add_view


def baked(**settings: object) -> Flask:
    """Add the view to the service as it is."""
    package = os.environ["FLASK_APP"]
    app: Flask = import_module(package).create_app(settings)
    db, models = import_module(f"{package}.db"), import_module(f"{package}.models")
    add_view(app, db.db, models.User)
    return app


def plain_pool() -> Flask:
    """Read in the same way from a plain QueuePool of the same numbers: no checks, no metrics."""
    return baked(SQLALCHEMY_ENGINE_OPTIONS={"poolclass": QueuePool})


def unmeasured() -> Flask:
    """Read from the service's own pool, but count and time nothing."""
    app = baked()
    app.extensions["pool"].observers.clear()
    for engine in app.extensions["pool"].engines.values():
        engine.pool.observers.clear()
    return app
