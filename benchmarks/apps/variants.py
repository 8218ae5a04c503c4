"""The baked service with the views that are compared."""

from __future__ import annotations

import os
from importlib import import_module

from flask import Flask

from benchmarks.apps.views import add_views


def baked() -> Flask:
    """Add the views to the service as it is."""
    package = os.environ["FLASK_APP"]
    app: Flask = import_module(package).create_app()
    db, models = import_module(f"{package}.db"), import_module(f"{package}.models")
    add_views(app, db.db, models.User)
    return app
