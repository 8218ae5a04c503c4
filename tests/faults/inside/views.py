"""Views for the tests: each function is served at /probe/<its name>, for GET and POST."""

from __future__ import annotations

import inspect
import os
import sys
import threading
import time
from contextlib import suppress
from typing import Any

import pymysql
import transactions
from fault_service import create_app as create_service
from fault_service.db import db
from fault_service.models import User
from flask import Flask, request
from sqlalchemy import Connection, Integer, String, cast, event, select, text, update
from sqlalchemy.exc import ProgrammingError


def create_app() -> Flask:
    """Build the project's application and add the probes."""
    app = create_service()
    for module in (sys.modules[__name__], transactions):
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if function.__module__ == module.__name__ and not name.startswith(("create", "_")):
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


def look_and_write() -> dict[str, Any]:
    """Begin a transaction by reading, and write later."""
    db.session.execute(text("SELECT 1"))
    time.sleep(float(request.args["seconds"]))
    db.session.add(User(name="late"))
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


def write_in_a_transaction_that_only_reads() -> dict[str, Any]:
    """Ask for a transaction that changes nothing, and change something."""
    if db.engine.dialect.name == "postgresql":
        db.session.execute(text("SET TRANSACTION READ ONLY"))
    else:
        db.session.execute(text("START TRANSACTION READ ONLY"))
    db.session.add(User(name="refused"))
    db.session.commit()
    return {}


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


def foreign_keys() -> dict[str, Any]:
    """Tell whether SQLite checks them."""
    return {"on": db.session.scalar(text("PRAGMA foreign_keys"))}


def where() -> dict[str, Any]:
    """Do something, then read, and say what kind of server was read."""
    then = request.args["then"]
    if then == "locks":
        db.session.scalars(select(User).with_for_update()).all()
    elif then == "now":
        db.session.scalar(text("SELECT now()"))
    elif then == "explicit":
        db.session.begin()
    elif then == "nested":
        db.session.begin_nested()
    elif then == "writes":
        db.session.add(User(name="written"))
        db.session.flush()
    standby = "SELECT setting FROM pg_catalog.pg_settings WHERE name = 'in_hot_standby'"
    return {"standby": db.session.scalar(text(standby)) == "on"}


def long_read() -> dict[str, Any]:
    """Read for some tenths of a second."""
    few = "(SELECT id FROM users ORDER BY id LIMIT 130)"
    query = f"SELECT count(*) FROM {few} a, {few} b, {few} c WHERE a.id > b.id AND b.id > c.id"
    return {"count": db.session.scalar(text(query))}


def by_hand() -> dict[str, Any]:
    """Read from a replica, then on a connection that the session gave."""
    standby = "SELECT setting FROM pg_catalog.pg_settings WHERE name = 'in_hot_standby'"
    replica = db.session.scalar(text(standby)) == "on"
    return {"replica": replica, "primary": db.session.connection().scalar(text(standby)) == "on"}


def wrong_and_on() -> dict[str, Any]:
    """Load something, meet an error, and go on with what was loaded."""
    user = db.session.scalars(select(User).order_by(User.id)).first()
    with suppress(ProgrammingError):
        db.session.execute(text("SELECT nonsense FROM users"))
    return {"name": user.name if user else None}


def save_in_autocommit_and_die() -> dict[str, Any]:
    """Read, save something at once, and read on a connection that has died."""
    db.session.scalars(select(User)).all()
    own = db.session.connection().connection.driver_connection
    assert own is not None
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as other:
        other.execute(text("INSERT INTO users (name) VALUES ('once')"))
        if db.engine.dialect.name == "postgresql":
            other.exec_driver_sql(f"SELECT pg_terminate_backend({own.info.backend_pid})")
        else:
            other.exec_driver_sql(f"KILL {own.thread_id()}")
    time.sleep(0.2)
    db.session.scalars(select(User)).all()
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
