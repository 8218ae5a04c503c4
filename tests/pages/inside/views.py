"""Views for the tests: they hold and leak what the page then shows."""

from __future__ import annotations

import importlib
import os
import time
from pathlib import Path
from threading import Timer

from flask import Flask, request
from sqlalchemy import text

package = os.environ["FLASK_APP"]
db = importlib.import_module(f"{package}.db").db


def create_app() -> Flask:
    """Build the project's application and add the views."""
    app: Flask = importlib.import_module(package).create_app()
    for view in (hold, leak):
        app.add_url_rule(f"/{view.__name__}", view_func=view)
    return app


def hold() -> str:
    """Keep a connection: `query` seconds in statements, or until a file is there; then `work`."""
    seconds, until = request.args.get("query", 0.0, float), request.args.get("until")
    db.session.execute(text("SELECT pg_sleep(:seconds)"), {"seconds": seconds})
    while until and not Path(until).exists():
        db.session.execute(text("SELECT pg_sleep(0.5)"))
    time.sleep(request.args.get("work", 0.0, float))
    return "done"


def leak() -> str:
    """Take a connection by hand and return it only after the request has ended."""
    Timer(0.5, db.engine.connect().close).start()
    return "done"
