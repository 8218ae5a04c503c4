"""Views for the tests: each function is served at /probe/<its name>, for GET and POST."""

from __future__ import annotations

import inspect
import os
import sys
import time
from typing import Any

import transactions
from fault_service import create_app as create_service
from fault_service.db import db
from fault_service.models import User
from flask import Flask, request
from sqlalchemy import select, text


def create_app() -> Flask:
    """Build the project's application and add the probes."""
    app = create_service()
    for module in (sys.modules[__name__], transactions):
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if function.__module__ == module.__name__ and not name.startswith("create"):
                app.add_url_rule(f"/probe/{name}", name, function, methods=["GET", "POST"])
    return app


def create_used_app() -> Flask:
    """Build the application and use its pool, as an import that reads something does."""
    app = create_app()
    with app.app_context():
        db.session.execute(text("SELECT 1"))
    return app


def sleep() -> dict[str, Any]:
    """Hold a connection in a statement."""
    call = "pg_sleep" if db.engine.dialect.name == "postgresql" else "SLEEP"
    db.session.execute(text(f"SELECT {call}(:seconds)"), {"seconds": request.args["seconds"]})
    return {}


def dawdle() -> dict[str, Any]:
    """Begin a transaction and leave the server waiting."""
    db.session.add(User(name="dawdler"))
    db.session.flush()
    time.sleep(float(request.args["seconds"]))
    db.session.commit()
    return {}


def die_before_commit() -> dict[str, Any]:
    """Write, have the connection killed, and commit."""
    db.session.add(User(name="never committed"))
    db.session.flush()
    postgresql = db.engine.dialect.name == "postgresql"
    query = "SELECT pg_backend_pid()" if postgresql else "SELECT connection_id()"
    number = db.session.scalar(text(query))
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as other:
        kill = "SELECT pg_terminate_backend({})" if postgresql else "KILL {}"
        other.exec_driver_sql(kill.format(number))
    time.sleep(0.2)
    db.session.commit()
    return {}


def echo() -> dict[str, Any]:
    """Send a value to the database and back; tell which process and which backend did it."""
    function = "pg_backend_pid" if db.engine.dialect.name == "postgresql" else "connection_id"
    query = text(f"SELECT :value, {function}()")
    value, backend = db.session.execute(query, {"value": int(request.args["value"])}).one()
    return {"value": int(value), "backend": backend, "process": os.getpid()}


def read_modify_write() -> dict[str, Any]:
    """Add one to the number that is the first user's name."""
    user = db.session.scalars(select(User).order_by(User.id).limit(1)).one()
    user.name = str(int(user.name) + 1)
    db.session.commit()
    return {}


def foreign_keys() -> dict[str, Any]:
    """Tell whether SQLite checks them."""
    return {"on": db.session.scalar(text("PRAGMA foreign_keys"))}
