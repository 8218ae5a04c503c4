"""A Flask service on a pooled database connection."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flask import Flask
from werkzeug.utils import import_string

from . import config, db, errors, health, pool, sessions, users


def create_app(test_config: Mapping[str, Any] | None = None) -> Flask:
    """Build the application; `test_config` overrides environment and defaults."""
    app = Flask(__name__, instance_path=str(_project_folder() / "instance"))

    # the settings, checked
    config.init_app(app, test_config)

    # the database and its pool
    pool.configure(app)
    db.init_app(app)
    pool.init_app(app, db.db)

    # what users see
    app.session_interface = sessions.CookieSessions()
    errors.init_app(app)
    app.register_blueprint(health.bp)
    app.register_blueprint(users.bp)

    # what operators use; the service does without this line and its folder
    import_string(f"{__name__}.pool.commands:init_app")(app)
    return app


def _project_folder() -> Path:
    """Return the checkout that holds this package, else the working directory."""
    checkout = Path(__file__).resolve().parents[2]
    return checkout if (checkout / "pyproject.toml").is_file() else Path.cwd()
