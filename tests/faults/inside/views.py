"""Views for the tests: each function is served at /probe/<its name>, for GET and POST."""

from __future__ import annotations

import inspect
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pymysql
from fault_service import create_app as create_service
from fault_service.db import db
from fault_service.models import User
from flask import Flask, Response, request, stream_with_context
from sqlalchemy import Connection, Integer, String, cast, event, select, text, update


def create_app() -> Flask:
    """Build the project's application and add the probes."""
    app = create_service()
    for name, function in inspect.getmembers(sys.modules[__name__], inspect.isfunction):
        if function.__module__ == __name__ and not name.startswith(("create", "_")):
            app.add_url_rule(f"/probe/{name}", name, function, methods=["GET", "POST"])
    return app


def create_used_app() -> Flask:
    """Build the application and use its pool, as an import that reads something does."""
    app = create_app()
    with app.app_context():
        db.session.execute(text("SELECT 1"))
    return app


def create_immediate_app() -> Flask:
    """Build an application whose transactions on SQLite take the write lock as they begin."""
    app = create_app()
    with app.app_context():
        event.listen(db.engine, "connect", _leave_begin_to_sqlalchemy)
        event.listen(db.engine, "begin", _begin_immediate)
    return app


def _leave_begin_to_sqlalchemy(connection: Any, record: Any) -> None:
    connection.isolation_level = None


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


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


def stream() -> Response:
    """Send the names while they are read; Flask ends the view's own session before that."""

    def names() -> Iterator[str]:
        query = select(User.name).order_by(User.id).execution_options(yield_per=10)
        for name in db.session.scalars(query):
            yield f"{name}\n"

    return Response(stream_with_context(names()), content_type="text/plain")


def query_in_a_thread() -> dict[str, Any]:
    """Let a thread ask on this request's connection, and answer before it is done."""
    raw: Any = db.session.connection().connection.dbapi_connection
    call = "pg_sleep" if db.engine.dialect.name == "postgresql" else "SLEEP"

    def ask() -> None:
        with suppress(Exception):
            raw.cursor().execute(f"SELECT {call}(0.4), 'late'")

    threading.Thread(target=ask).start()
    time.sleep(0.1)
    return {}


def rows_not_fetched() -> dict[str, Any]:
    """Read one row of many with a cursor that the driver does not buffer."""
    raw: Any = db.session.connection().connection.dbapi_connection
    query = "SELECT * FROM " + " CROSS JOIN ".join(f"({TEN}) AS t{n}" for n in range(5))
    if db.engine.dialect.name == "postgresql":
        rows = raw.cursor().stream(query)
    else:
        cursor = raw.cursor(pymysql.cursors.SSCursor)
        cursor.execute(query)
        rows = iter(cursor.fetchone, None)
    LEFT.append(rows)
    next(rows)
    return {}


def copy_not_finished() -> dict[str, Any]:
    """Begin a COPY by hand and go away."""
    raw: Any = db.session.connection().connection.dbapi_connection
    if db.engine.dialect.name == "postgresql":
        raw.pgconn.exec_(b"BEGIN")
        raw.pgconn.exec_(b"COPY users (name) FROM STDIN")
    return {}


TEN = " UNION ALL ".join(f"SELECT {number} AS n" for number in range(10))
LEFT: list[Any] = []  # so that the garbage collector does not tidy up


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


def add_in_sql() -> dict[str, Any]:
    """Add one to the number that is the first user's name, in one statement."""
    number = cast(cast(User.name, Integer) + 1, String)
    db.session.execute(update(User).values(name=number))
    db.session.commit()
    return {}


def die_before_the_end() -> dict[str, Any]:
    """Have the connection of a transaction killed, and use it no more."""
    db.session.scalars(select(User).with_for_update()).all()
    own = db.session.connection().connection.driver_connection
    assert own is not None
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as other:
        if db.engine.dialect.name == "postgresql":
            other.exec_driver_sql(f"SELECT pg_terminate_backend({own.info.backend_pid})")
        else:
            other.exec_driver_sql(f"KILL {own.thread_id()}")
    time.sleep(0.2)
    return {"done": True}
