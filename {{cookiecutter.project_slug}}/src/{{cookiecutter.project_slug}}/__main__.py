"""Run the service for local work: upgrade the schema, then serve with the debugger."""

from __future__ import annotations

import os
import sys

from flask_migrate import upgrade
from flask_pool import settings

from . import create_app

LOCAL = ("127.0.0.1", "::1", "localhost")


def main() -> None:
    """Upgrade the schema and serve until interrupted."""
    settings.add_dotenv(os.environ, settings.dotenv())
    os.environ.setdefault("FLASK_DEBUG", "1")
    try:
        app = create_app()
    except settings.SettingError as error:
        sys.exit(error.message)
    if not app.debug or os.environ.get("WERKZEUG_RUN_MAIN") == "true":  # not the reloader's parent
        with app.app_context():
            upgrade()
        app.extensions["pool"].prefill()
    host, port = app.config["HOST"], app.config["PORT"]
    # the debugger runs code: it answers this machine only
    app.run(host, port, load_dotenv=False, use_debugger=host in LOCAL)


if __name__ == "__main__":
    main()
