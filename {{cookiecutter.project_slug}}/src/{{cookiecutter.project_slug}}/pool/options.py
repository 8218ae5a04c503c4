"""Engine options: what `create_engine` gets, from the settings and the kind of database."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

import click
from flask import Flask
from sqlalchemy.engine import URL, make_url
from sqlalchemy.pool import NullPool

from . import leaks
from .care import GRACE
from .metered import MeteredPool

Settings = Mapping[str, Any]

BUSY_TIMEOUT = 5.0  # seconds that SQLite waits for another writer

logger = logging.getLogger(__name__)


def configure(app: Flask) -> None:
    """Set the options of the default engine and of each bind, before the extension reads them."""
    config = app.config
    default = engine_options(make_url(config["SQLALCHEMY_DATABASE_URI"]), config)
    default |= config.get("SQLALCHEMY_ENGINE_OPTIONS") or {}
    config["SQLALCHEMY_DATABASE_URI"] = default.pop("url")
    config["SQLALCHEMY_ENGINE_OPTIONS"] = default
    for key, bind in config["SQLALCHEMY_BINDS"].items():
        given = {name: value for name, value in bind.items() if name != "url"}
        config["SQLALCHEMY_BINDS"][key] = engine_options(make_url(bind["url"]), config) | given
    # before the extension's own teardown, as teardowns run last in, first out
    leaks.init_app(app)


def engine_options(url: URL, settings: Settings) -> dict[str, Any]:
    """Return the arguments of `create_engine` for this database."""
    family = url.get_backend_name()
    options = {
        "url": url,
        # the driver never begins by itself; transactions.py does
        "isolation_level": "AUTOCOMMIT",
        "hide_parameters": not settings.get("DEBUG"),
        "connect_args": CONNECT_ARGS[family](url, settings) if family in CONNECT_ARGS else {},
    }
    if is_memory(url):
        return options | _one_connection(settings)
    if in_command():
        return options | {"poolclass": NullPool}
    return options | {
        "poolclass": MeteredPool,
        "pool_size": settings["SQLALCHEMY_POOL_SIZE"],
        "max_overflow": settings["SQLALCHEMY_MAX_OVERFLOW"],
        "max_wait": settings["SQLALCHEMY_POOL_TIMEOUT"],
        "pool_recycle": settings["SQLALCHEMY_POOL_RECYCLE"],
        "max_waiting": settings.get("SQLALCHEMY_MAX_WAITING"),
        "ping_after": settings["SQLALCHEMY_POOL_PING_AFTER"],
    }


def is_memory(url: URL) -> bool:
    """Tell whether this is SQLite without a file."""
    return url.get_backend_name() == "sqlite" and (
        url.database in (None, "", ":memory:") or url.query.get("mode") == "memory"
    )


def in_command() -> bool:
    """Tell whether a short-lived `flask` command is running, so that no pool is opened."""
    context = click.get_current_context(silent=True)
    return context is not None and context.info_name != "run"


def _one_connection(settings: Settings) -> dict[str, Any]:
    """Keep the one connection that holds an in-memory database, for one user at a time."""
    logger.warning("in-memory SQLite: one connection; pool size, overflow and recycle do not apply")
    return {
        # in this spelling the extension leaves the pool alone
        "url": URL.create("sqlite", database="file:/", query={"mode": "memory", "uri": "true"}),
        "poolclass": MeteredPool,
        "pool_size": 1,
        "max_overflow": 0,
        "max_wait": settings["SQLALCHEMY_POOL_TIMEOUT"],
        "max_waiting": settings.get("SQLALCHEMY_MAX_WAITING"),
    }


def _postgresql(url: URL, settings: Settings) -> dict[str, Any]:
    """Return libpq's parameters; the URL's own win."""
    connect = settings["SQLALCHEMY_CONNECT_TIMEOUT"]
    args: dict[str, Any] = {
        "connect_timeout": math.ceil(connect),
        # data that the network swallowed: keepalives alone do not see it
        "tcp_user_timeout": int(connect * 1000),
        "keepalives_idle": math.ceil(connect),
        "keepalives_interval": 1,
        "keepalives_count": math.ceil(connect),
    }
    if settings["SQLALCHEMY_EXTERNAL_POOLER"] == "pgbouncer":
        # the next transaction may run on another backend, where neither would be
        args["prepare_threshold"] = None
    else:
        timeout = int(settings["SQLALCHEMY_STATEMENT_TIMEOUT"] * 1000)
        args["options"] = f"-c statement_timeout={timeout}"
    return {name: value for name, value in args.items() if name not in url.query}


def _mysql(url: URL, settings: Settings) -> dict[str, Any]:
    """Return PyMySQL's parameters; the URL's own win."""
    timeout = settings["SQLALCHEMY_STATEMENT_TIMEOUT"]
    args = {
        "connect_timeout": settings["SQLALCHEMY_CONNECT_TIMEOUT"],
        "read_timeout": timeout + GRACE,
        "write_timeout": timeout + GRACE,
        "autocommit": True,
        # each server reads its own comment: MariaDB counts seconds, MySQL milliseconds
        "init_command": f"SET SESSION /*M!100101 max_statement_time={timeout:g} */"
        f"/*!50708 max_execution_time={int(timeout * 1000)} */",
    }
    return {name: value for name, value in args.items() if name not in url.query}


def _sqlite(url: URL, settings: Settings) -> dict[str, Any]:
    return {"timeout": BUSY_TIMEOUT, "check_same_thread": False}


CONNECT_ARGS = {
    "postgresql": _postgresql,
    "mysql": _mysql,
    "mariadb": _mysql,
    "sqlite": _sqlite,
}
