"""The baked service with one thing taken out, to see what that thing costs."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from typing import Any

from flask import Flask
from sqlalchemy import Engine, event
from sqlalchemy.engine import Dialect
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool


class PlainPool(QueuePool):
    """SQLAlchemy's own pool, which leaves aside the options that only the service's pool has."""

    def __init__(
        self,
        creator: Any,
        max_wait: float = 30,
        max_waiting: int | None = None,
        ping_after: float = 1,
        **kw: Any,
    ) -> None:
        del max_waiting, ping_after
        super().__init__(creator, **{"timeout": max_wait} | kw)


def plain_pool() -> Flask:
    """Serve from a plain QueuePool of the same numbers: no gate, no checks, no metrics."""
    app: Flask = _package().create_app({"SQLALCHEMY_ENGINE_OPTIONS": {"poolclass": PlainPool}})
    engine: Engine = app.extensions["pool"].engines["default"]
    # the connections themselves stay those of the service
    if engine.dialect.driver == "psycopg":
        event.listen(engine, "do_connect", _connect(_package("pool.driver_psycopg")))
    return app


def unmeasured() -> Flask:
    """Serve from the service's own pool, but count and time nothing."""
    metrics = _package("pool.metrics")
    metrics.record = lambda *_: None
    app: Flask = _package().create_app()
    return app


def _package(module: str = "") -> Any:
    name = os.environ["FLASK_APP"]
    return import_module(f"{name}.{module}" if module else name)


def _connect(driver: Any) -> Callable[..., DBAPIConnection]:
    def connect(
        _dialect: Dialect, _record: ConnectionPoolEntry, args: Any, keywords: Any
    ) -> DBAPIConnection:
        connection: DBAPIConnection = driver.Connection.connect(*args, **keywords)
        return connection

    return connect
