"""Connections that somebody took by hand and forgot: found, named and given back."""

from __future__ import annotations

import contextlib
import logging
import sys
from pathlib import Path
from types import CodeType

import flask_sqlalchemy
import sqlalchemy
import sqlalchemy.orm.session
from flask import Flask, g, has_app_context
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from .metered import MeteredPool

Taker = tuple[CodeType, int]
Taken = dict[ConnectionPoolEntry, tuple[PoolProxiedConnection, Taker, MeteredPool]]

# the code between a taker and the pool; the session gives back what it takes
LIBRARIES = (
    *(str(Path(str(library.__file__)).parent) for library in (sqlalchemy, flask_sqlalchemy)),
    str(Path(__file__).parent),
    str(contextlib.__file__),
)
SESSION = str(sqlalchemy.orm.session.__file__)

logger = logging.getLogger(__name__)


def init_app(app: Flask) -> None:
    """Look for forgotten connections when an application context ends."""
    app.teardown_appcontext(_recover)


def watch(engine: Engine) -> None:
    """Note who takes connections from the engine's pool by hand."""
    pool = engine.pool
    if not isinstance(pool, MeteredPool):
        return

    def checkout(
        connection: DBAPIConnection, record: ConnectionPoolEntry, proxy: PoolProxiedConnection
    ) -> None:
        taker = _taker() if has_app_context() else None
        if taker is not None:
            taken: Taken = g.setdefault("pool_taken", {})
            # this reference keeps the garbage collector from returning it unnamed
            taken[record] = (proxy, taker, pool)
            record.info["taken"] = taken

    event.listen(engine, "checkout", checkout)
    event.listen(engine, "checkin", _checkin)


def _checkin(connection: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
    taken: Taken = record.info.pop("taken", {})
    taken.pop(record, None)


def _recover(error: BaseException | None) -> None:
    taken: Taken = g.pop("pool_taken", {})
    for proxy, taker, pool in list(taken.values()):
        if proxy.is_valid and not proxy.is_detached:
            code, line = taker
            where = f"{code.co_filename}:{line} in {code.co_name}"
            pool.metrics.leaked(where)
            logger.warning("connection leak: taken at %s, never closed; now given back", where)
            proxy.close()


def _taker() -> Taker | None:
    """Return the line that asked for a connection, None for the session."""
    frame = sys._getframe(1)
    while frame.f_back is not None:
        frame = frame.f_back
        file = frame.f_code.co_filename
        if file == SESSION:
            return None
        if not file.startswith(LIBRARIES):
            return frame.f_code, frame.f_lineno
    return None
