"""Run the service for local work: upgrade the schema, then serve with the debugger."""

from __future__ import annotations

import ipaddress
import os
import sys

from flask import Flask
from flask_migrate import upgrade

from . import config, create_app
from .pool import settings


def application() -> Flask:
    """Build the application for a server, with what `.env` of its working directory sets."""
    # gunicorn.conf.py keeps what it read last and could use
    server = sys.modules.get("gunicorn_last_settings")
    settings.add_dotenv(os.environ, server.dotenv if server else config.dotenv())
    return create_app()


def main() -> None:
    """Upgrade the schema and serve until interrupted."""
    config.load_dotenv()
    os.environ.setdefault("FLASK_DEBUG", "1")
    try:
        app = create_app()
    except settings.SettingError as error:
        sys.exit(error.message)
    if not app.debug or os.environ.get("WERKZEUG_RUN_MAIN") == "true":  # not the reloader's parent
        with app.app_context():
            upgrade()
        app.extensions["pool"].prefill()
    # the debugger runs code: it answers this machine only
    debugger = _is_local(app.config["HOST"])
    # Flask would read .env once more, for the reloader's child to find it in its environment
    app.run(app.config["HOST"], app.config["PORT"], load_dotenv=False, use_debugger=debugger)


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


if __name__ == "__main__":
    main()
