"""Run the service for local work: upgrade the schema, then serve with the debugger."""

from __future__ import annotations

import ipaddress
import os
import sys

from flask.cli import load_dotenv
from flask_migrate import upgrade
from sqlalchemy.exc import SQLAlchemyError

from . import create_app
from .config import SettingError
from .pool import lifecycle


def main() -> None:
    """Upgrade the schema and serve until interrupted."""
    load_dotenv()
    os.environ.setdefault("FLASK_DEBUG", "1")
    try:
        app = create_app()
    except SettingError as error:
        sys.exit(error.message)
    if not app.debug or os.environ.get("WERKZEUG_RUN_MAIN") == "true":  # not the reloader's parent
        try:
            with app.app_context():
                upgrade()
        except SQLAlchemyError as error:
            sys.exit(f"the database can't be upgraded: {getattr(error, 'orig', error)}")
        lifecycle.prefill(app)
    # the debugger runs code: it answers this machine only
    app.run(app.config["HOST"], app.config["PORT"], use_debugger=_is_local(app.config["HOST"]))


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


if __name__ == "__main__":
    main()
