"""The extension: what `create_app` calls, and what it keeps of an application."""

from __future__ import annotations

import atexit
import logging
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from operator import methodcaller
from time import perf_counter
from typing import Any

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import create_engine, event
from sqlalchemy.engine import Connection, Dialect, Engine
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DisconnectionError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool, StaticPool

from . import drivers, errors, options, settings, transactions
from .drivers import sqlite
from .observer import Observer
from .queue_pool import FairQueuePool, SharedConnectionPool
from .replicas import Replicas, make_engines, read_from
from .requests import Requests, note_taken

logger = logging.getLogger(__name__)

_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


@dataclass
class Pools:
    """What `app.extensions["pool"]` holds: the engines by name, and who listens."""

    settings: Mapping[str, Any]
    engines: dict[str, Engine] = field(default_factory=dict)
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    observers: list[Observer] = field(default_factory=list)
    replicas: Replicas | None = None

    def prefill(self) -> None:
        """Open pool_size connections in each pool, or log why not."""
        for name, engine in self.engines.items():
            pool = engine.pool
            if not isinstance(pool, FairQueuePool):
                continue
            if self.settings["POOL_PREFILL"]:
                _fill(engine, pool.size(), name)
            pool.tell("started")

    def reads_go_on(self) -> bool:
        """Tell whether safe requests find a replica while the primary is away."""
        return self.replicas is not None and self.replicas.answer()

    def unpooled(self, name: str, **changes: Any) -> Engine:
        """Return a new engine that connects as this one does, to each connection anew."""
        return self.another(name, poolclass=NullPool, **changes)

    def another(self, name: str, **changes: Any) -> Engine:
        """Return a new engine that connects as this one does, with a pool as it is given."""
        given = {key: value for key, value in self.options[name].items() if key in UNPOOLED}
        engine = create_engine(**given | changes)
        _watch(engine, self.settings)
        return engine


UNPOOLED = ("url", "connect_args", "isolation_level", "execution_options", "echo")


class Pool:
    """Gives a Flask application its engines and sessions, on fair and bounded pools.

    `Pool().init_app(app, db)` stands for `db.init_app(app)`.
    """

    def __init__(self, app: Flask | None = None, db: SQLAlchemy | None = None) -> None:
        if app is not None and db is not None:
            self.init_app(app, db)

    def init_app(self, app: Flask, db: SQLAlchemy) -> None:
        """Make the engines of `db` for `app` and look after their connections."""
        if "sqlalchemy" in app.extensions:
            raise RuntimeError(
                "Pool.init_app calls db.init_app: call it instead, not after db.init_app"
            )
        # the settings
        given = {name: app.config.get(name) for name in settings.CHECKS if name != settings.URI}
        found = settings.with_defaults(settings.checked(given))
        if found["SERVER_TIMING"] is None:
            found["SERVER_TIMING"] = app.debug
        app.config.update(found)

        # the engines
        recycle = "SQLALCHEMY_POOL_RECYCLE"
        of_replicas = options.configure(app, db, found | {recycle: given[recycle]})
        db.init_app(app)
        app.extensions["pool"] = pools = Pools(found)
        with app.app_context():
            engines = dict(db.engines)
            more = make_engines(db, app, of_replicas)
        for key, engine in engines.items():
            if not isinstance(engine, Engine):  # an extension's own, such as an AsyncEngine
                continue
            name = key or "default"
            own = app.config["SQLALCHEMY_BINDS"].get(key)
            pools.engines[name] = engine
            pools.options[name] = {**(own or app.config["SQLALCHEMY_ENGINE_OPTIONS"])}
            pools.options[name]["url"] = engine.url
            if isinstance(engine.pool, StaticPool):  # as Flask-SQLAlchemy has it in memory
                timeout = found["SQLALCHEMY_POOL_TIMEOUT"]
                engine.pool = SharedConnectionPool.in_place_of(engine.pool, timeout=timeout)
            _watch(engine, found)
            _engines.add(engine)
        if more:
            pools.replicas = read_from(db, app, pools.engines["default"], more)
        for (name, engine), own in zip(more.items(), of_replicas, strict=True):
            pools.engines[name], pools.options[name] = engine, own
            _watch(engine, found, replica=True)
            _engines.add(engine)

        # the requests
        transactions.watch_sessions(db)
        errors.init_app(app, pools.observers)
        app.wsgi_app = Requests(app, pools.observers)  # type: ignore[method-assign]

        # what operators use; the service does without its folder
        if find_spec(".ops", __package__):
            import_module(".ops", __package__).init_app(app)
        _close_at_exit()  # before ops counts for the last time


def close() -> None:
    """Close every connection properly; those in use as soon as they are returned."""
    for engine in list(_engines):
        engine.dispose()


@cache
def _close_at_exit() -> None:
    atexit.register(close)


def _fill(engine: Engine, size: int, name: str) -> None:
    connections: list[Connection] = []
    try:
        while len(connections) < size:
            connections.append(engine.connect())
    except SQLAlchemyError as error:
        logger.warning("pool %s: not warmed up: %s", name, type(error).__name__)
    finally:
        for connection in connections:
            connection.close()


def _watch(engine: Engine, config: Mapping[str, Any], *, replica: bool = False) -> None:
    """Look after the engine's connections, statements and errors."""
    deadline = config["SQLALCHEMY_STATEMENT_TIMEOUT"] + options.GRACE
    event.listen(engine, "do_connect", partial(_connect, engine, deadline))
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", sqlite.prepare)
    transactions.watch(engine, only_reads=replica)
    errors.watch(engine)
    pool = engine.pool
    if not isinstance(pool, FairQueuePool):
        return
    if engine.dialect.driver in ("psycopg", "pymysql"):
        pool.hung_up = methodcaller("hung_up")
        pool.ping = partial(_ping, engine.dialect, config["SQLALCHEMY_CONNECT_TIMEOUT"])
    if engine.dialect.driver in ("psycopg", "pymysql", "pysqlite"):
        pool.abandon = methodcaller("abandon")
    pool.taken = note_taken
    event.listen(engine, "invalidate", partial(_died, engine))


def _connect(
    engine: Engine,
    deadline: float,
    dialect: Dialect,
    record: ConnectionPoolEntry,
    cargs: Any,
    cparams: Any,
) -> DBAPIConnection:
    started = perf_counter()
    connection: DBAPIConnection = drivers.connect(dialect, cargs, cparams, deadline)
    pool = engine.pool
    if isinstance(pool, FairQueuePool):
        pool.tell("connected", perf_counter() - started)
    return connection


def _ping(dialect: Dialect, timeout: float, connection: Any) -> bool:
    kept, connection.deadline = connection.deadline, timeout
    connection.alone = True
    try:
        return dialect.do_ping(connection)
    except dialect.loaded_dbapi.Error:
        return False
    finally:
        connection.deadline, connection.alone = kept, False


def _died(
    engine: Engine,
    connection: DBAPIConnection,
    record: ConnectionPoolEntry,
    exception: BaseException | None,
) -> None:
    pool = engine.pool
    own = exception is None or isinstance(exception, DisconnectionError)
    if not own and isinstance(pool, FairQueuePool):
        pool.tell("replaced", "died")
