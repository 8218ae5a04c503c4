"""Views for the tests: each function is served at /probe/<its name>, for GET and POST."""

from __future__ import annotations

import inspect
import sys
from typing import Any

from fault_service import create_app as create_service
from fault_service.db import db
from flask import Flask, request
from sqlalchemy import text


def create_app() -> Flask:
    """Build the project's application and add the probes."""
    app = create_service()
    for name, function in inspect.getmembers(sys.modules[__name__], inspect.isfunction):
        if function.__module__ == __name__ and name != "create_app":
            app.add_url_rule(f"/probe/{name}", name, function, methods=["GET", "POST"])
    return app


def sleep() -> dict[str, Any]:
    """Hold a connection in a statement."""
    call = "pg_sleep" if db.engine.dialect.name == "postgresql" else "SLEEP"
    db.session.execute(text(f"SELECT {call}(:seconds)"), {"seconds": request.args["seconds"]})
    return {}
