"""The extension: what `create_app` calls, and what it keeps of an application."""

from __future__ import annotations

import atexit
import gc
import logging
import weakref
from collections.abc import Callable, Container, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from threading import Lock
from typing import Any

from flask import Flask
from flask.signals import request_started
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import create_engine, event
from sqlalchemy.engine import Engine
from sqlalchemy.exc import ArgumentError, InvalidRequestError
from sqlalchemy.pool import Pool as SQLAlchemyPool

from . import commits, connecting, errors, options, queue, reads, settings, uses, watcher
from .observer import Observer
from .queue_pool import FairQueuePool
from .replicas import Replicas, make_engines

logger = logging.getLogger(__name__)

# Flask-SQLAlchemy reads the first; an application may call something else by the names of the rest
NOT_ASKED = {settings.URI, "HOST", "PORT"}

_engines: weakref.WeakSet[Engine] = weakref.WeakSet()
# that are listened to; `event.contains` goes by `id`, which a later one may have again
_factories: weakref.WeakSet[Any] = weakref.WeakSet()


@dataclass
class Pools:
    """What `app.extensions["flask_pool"]` holds: the engines by name, and who listens.

    `app.extensions["pool"]` is the same, unless the application has something of that name.
    """

    settings: dict[str, Any]
    engines: dict[str, Engine] = field(default_factory=dict)
    observers: list[Observer] = field(default_factory=list)
    replicas: Replicas | None = None
    sees_sessions: bool = False  # what `db.session` sends passes the listeners
    on_first_request: Callable[..., None] | None = None

    def prefill(self) -> None:
        """Open pool_size connections in each pool, or log why not; then freeze what is there.

        A full collection would stop every thread for as long as the whole heap takes.
        """
        for name, engine in self.engines.items():
            pool = engine.pool
            if not isinstance(pool, FairQueuePool):
                continue
            if self.settings["POOL_PREFILL"]:
                _fill(engine, pool.size(), name)
            pool.tell("started")
        gc.collect()
        gc.freeze()

    def reads_go_on(self) -> bool:
        """Tell whether safe requests find a replica while the primary is away."""
        return self.replicas is not None and self.replicas.answer()

    def another(self, name: str, poolclass: type[SQLAlchemyPool], **numbers: Any) -> Engine:
        """Return a new engine whose pool, of this class, makes connections as this one's does."""
        engine = self.engines[name]
        own: Any = engine.pool
        # the dialect's, which calls the listeners, or the application's
        creator = own._creator  # noqa: SLF001
        made = create_engine(engine.url, creator=creator, poolclass=poolclass, **numbers)
        for listener in own.dispatch.connect.listeners:
            event.listen(made, "connect", listener)
        if isinstance(made.pool, FairQueuePool):
            made.pool.try_again = getattr(own, "try_again", None)
        return made


class Pool:
    """Gives a Flask application its engines and sessions, on fair and bounded pools.

    `Pool(app, db)` stands for `db.init_app(app)`.
    """

    def __init__(self, app: Flask | None = None, db: SQLAlchemy | None = None) -> None:
        if app is not None or db is not None:
            self.init_app(app, db)

    def init_app(self, app: Flask | None, db: SQLAlchemy | None) -> None:
        """Make the engines of `db` for `app` and look after their connections."""
        if not isinstance(app, Flask) or not isinstance(db, SQLAlchemy):
            raise TypeError("Pool needs the application and its SQLAlchemy: Pool(app, db)")
        if "sqlalchemy" in app.extensions:
            raise RuntimeError(
                "Pool.init_app calls db.init_app: call it instead, not after db.init_app"
            )
        given = {name: app.config.get(name) for name in settings.CHECKS.keys() - NOT_ASKED}
        found = settings.with_defaults(settings.checked(given))
        if found["SERVER_TIMING"] is None:
            found["SERVER_TIMING"] = app.debug
        recycle = "SQLALCHEMY_POOL_RECYCLE"
        with options.in_config(app, db, found | {recycle: given.get(recycle)}) as added:
            db.init_app(app)
        app.extensions["flask_pool"] = pools = Pools(found)
        app.extensions.setdefault("pool", pools)
        with _context(app):
            engines = {name or "default": engine for name, engine in db.engines.items()}
            replicas = make_engines(db, app, found)
        # what an extension made itself, such as an AsyncEngine, is left as it is
        pools.engines |= {
            name: engine for name, engine in engines.items() if isinstance(engine, Engine)
        }
        if replicas:
            lag = found["SQLALCHEMY_REPLICA_LAG"]
            pools.replicas = Replicas(pools.engines["default"], replicas, lag)
            pools.engines |= replicas
        resets = {name or "default" for name, each in added.items() if options.RESET in each}
        resets |= replicas.keys() if "default" in resets else set()
        listen(app, db, pools, resets)
        errors.init_app(app, pools.observers)
        queue.init_app(app, found)

        # what operators use; an application does without its folder
        if find_spec(".ops", __package__):
            import_module(".ops", __package__).init_app(app)
        _engines.update(pools.engines.values())
        atexit.unregister(close)  # once, and before ops counts for the last time
        atexit.register(close)


@contextmanager
def _context(app: Flask) -> Iterator[None]:
    """Give a context whose end runs none of the application's functions: it is being made."""
    functions, app.teardown_appcontext_funcs = app.teardown_appcontext_funcs, []
    try:
        with app.app_context():
            yield
    finally:
        app.teardown_appcontext_funcs = functions


def listen(  # noqa: C901, PLR0915 - a list
    app: Flask, db: SQLAlchemy, pools: Pools, resets: Container[str]
) -> None:
    """Register every listener of the library; `resets` names the pools that it resets itself."""
    own_resets: list[tuple[Engine, Any]] = []
    for name, engine in pools.engines.items():
        driver = engine.dialect.driver
        if driver == "pysqlite":  # foreign keys, but not for Alembic; and a write-ahead log
            event.listen(engine, "connect", connecting.prepare_sqlite)
            event.listen(engine, "checkout", connecting.spare_migrations)
        if engine.dialect.name not in options.FAMILIES or options.is_memory(engine.url):
            continue
        if driver == "psycopg":  # the last primary first; no start parameters behind a pooler
            hosts = connecting.Hosts(engine)
            event.listen(engine, "do_connect", hosts.choose)
            event.listen(engine, "connect", hosts.learn)
            if not isinstance(engine.pool, FairQueuePool):  # which connects again by itself
                event.listen(engine, "handle_error", hosts.notice)
        if driver == "pymysql":  # limits in time, for its handshake and for statements
            event.listen(engine, "do_connect", connecting.limit_handshake)
            limit = partial(connecting.limit_pymysql, pools.settings, engine.dialect)
            event.listen(engine, "connect", limit, insert=True)
            # no error of a connection that died before
            event.listen(engine, "checkout", connecting.forget_tls_errors)
        if driver in ("psycopg", "pymysql"):  # no ROLLBACK amid an answer
            event.listen(engine, "reset", commits.close_busy)
        if name in resets:  # no ROLLBACK that its session has sent
            own_resets.append((engine, partial(commits.reset, engine.dialect)))
            event.listen(engine, "reset", own_resets[-1][1])
        # what happens to connections
        if isinstance(engine.pool, FairQueuePool):
            event.listen(engine, "do_connect", uses.connecting)
            event.listen(engine, "connect", partial(uses.connected, engine))
            event.listen(engine, "connect", partial(watcher.start, engine, pools.settings))
            event.listen(engine, "invalidate", partial(uses.died, engine))
        event.listen(engine, "checkout", partial(uses.taken, engine))
        event.listen(engine, "checkin", uses.returned)
        # what is sent, and what became of it
        event.listen(engine, "do_execute", reads.before_execute)
        event.listen(engine, "do_executemany", reads.before_other)
        event.listen(engine, "do_execute_no_params", reads.before_other)
        event.listen(engine, "handle_error", errors.note_error)
    if pools.replicas:  # where the log is after a write, before `uses.returned` forgets it
        event.listen(pools.engines["default"], "checkin", pools.replicas.note_return, insert=True)
        for server in pools.replicas.servers:
            event.listen(server.engine, "connect", server.greet)
        app.after_request(pools.replicas.tell)
    # sessions: reads without a transaction, and no COMMIT that can't arrive
    # what makes them, as tests replace `db.session` by one of their own
    factory = getattr(db.session, "session_factory", db.session)
    with suppress(ArgumentError, InvalidRequestError):  # a function, which has no events
        if factory not in _factories:  # of several applications
            event.listen(factory, "after_begin", reads.note_begin)
            event.listen(factory, "before_commit", commits.refuse_lost)
            event.listen(factory, "do_orm_execute", reads.read)
            _factories.add(factory)
        pools.sees_sessions = True
    pools.on_first_request = partial(_put_last, factory, own_resets, pools)
    request_started.connect(pools.on_first_request, app)
    # requests: no ROLLBACK that can't arrive, and nothing forgotten
    # in its place, as an application's own functions, such as one that commits, come before it
    app.teardown_appcontext_funcs[:] = [
        partial(commits.end_session, db, each) if getattr(each, "__self__", None) is db else each
        for each in app.teardown_appcontext_funcs
    ]
    app.wsgi_app = uses.Ends(app.wsgi_app)  # type: ignore[method-assign]


_first_request = Lock()


def _put_last(
    factory: Any, own_resets: list[tuple[Engine, Any]], pools: Pools, app: Flask, **_: Any
) -> None:
    """Put listeners behind the application's own, at its first request.

    What comes after `reads.read` is called again where a read is run once more; what comes
    after `commits.reset` finds no transaction.
    """
    with _first_request:
        if pools.on_first_request is None:
            return
        if pools.sees_sessions:
            event.remove(factory, "do_orm_execute", reads.read)
            event.listen(factory, "do_orm_execute", reads.read)
        for engine, reset in own_resets:
            event.listen(engine, "reset", partial(reset))  # a pool is never without one
            event.remove(engine, "reset", reset)
        request_started.disconnect(pools.on_first_request)
        pools.on_first_request = None


def close() -> None:
    """Close every connection properly; those in use as soon as they are returned."""
    for engine in list(_engines):
        engine.dispose()


def _fill(engine: Engine, size: int, name: str) -> None:
    with ExitStack() as connections:
        try:
            for _ in range(size):
                connections.enter_context(engine.connect())
        except Exception as error:  # noqa: BLE001 - of a creator or a listener too
            logger.warning("pool %s: not warmed up: %s", name, type(error).__name__)
