"""The life of a process's connections: warm-up, fork, shutdown."""

from __future__ import annotations

import atexit
import logging
import os
import weakref
from functools import cache

from flask import Flask
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from .metered import MeteredPool

logger = logging.getLogger(__name__)

_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


def watch(engine: Engine) -> None:
    """Keep the engine's connections out of child processes, and close them at the end."""
    _register()
    _engines.add(engine)


def prefill(app: Flask) -> None:
    """Open pool_size connections in each pool, or log why not."""
    for name, engine in app.extensions["pool"].engines.items():
        if isinstance(engine.pool, MeteredPool):
            engine.pool.metrics.limits(engine.pool.size(), engine.pool.gate.capacity)
            if app.config["POOL_PREFILL"]:
                _fill(engine, engine.pool.size(), name)


def close() -> None:
    """Close every connection properly; those in use as soon as they are returned."""
    for engine in list(_engines):
        engine.dispose()


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


@cache
def _register() -> None:
    """Register the process hooks once, with the first engine."""
    os.register_at_fork(after_in_child=_forget)
    atexit.register(close)


def _forget() -> None:
    """Leave the parent's connections alone: not used, not closed."""
    for engine in list(_engines):
        engine.dispose(close=False)
        if isinstance(engine.pool, MeteredPool):
            engine.pool.metrics.forget()
