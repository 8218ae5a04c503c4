"""A Flask service on a pooled database connection."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flask import Flask
from flask_pool import health

from . import config, errors, users
from .db import db, migrate, pool


def create_app(test_config: Mapping[str, Any] | None = None) -> Flask:
    """Build the application; `test_config` overrides environment and defaults."""
    app = Flask(__name__, instance_path=str(_project_folder() / "instance"))

    # the settings, checked
    config.init_app(app, test_config)

    # the database, its pool and its migrations
    pool.init_app(app, db)
    migrate.init_app(app, directory=f"{app.root_path}/migrations")

    # what users see
    errors.init_app(app)
    app.register_blueprint(health.bp)
    app.register_blueprint(users.bp)
    return app


def _project_folder() -> Path:
    """Return the checkout that holds this package, else the working directory."""
    checkout = Path(__file__).resolve().parents[2]
    return checkout if (checkout / "pyproject.toml").is_file() else Path.cwd()
