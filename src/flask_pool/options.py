"""Engine options: what `create_engine` gets, from the settings and the kind of database."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import click
from flask import Flask
from flask.cli import ScriptInfo
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.engine import URL, make_url
from sqlalchemy.pool import NullPool, QueuePool

from .drivers import sqlite
from .queue_pool import FairQueuePool, SharedConnectionPool
from .settings import DEFAULTS, DRIVERS

Settings = Mapping[str, Any]

GRACE = 0.5  # seconds that a server has to report its own timeout before the client acts
JITTER = 0.1  # connections live for 90 to 100 % of the recycle time
POOL_OPTIONS = {
    "pool_size", "max_overflow", "pool_timeout", "pool_recycle", "pool_use_lifo", "pool_pre_ping",
    "max_waiting", "ping_after", "wait_timeout", "jitter",
}  # fmt: skip

NOTHING: Settings = MappingProxyType({})

logger = logging.getLogger(__name__)


def configure(app: Flask, db: SQLAlchemy, settings: Settings) -> list[dict[str, Any]]:
    """Set the options of each engine before Flask-SQLAlchemy reads them; return the replicas'."""
    config = app.config
    shared = dict(db._engine_options)  # what SQLAlchemy(engine_options=...) was given
    given = shared | (config.get("SQLALCHEMY_ENGINE_OPTIONS") or {})
    uri = config.get("SQLALCHEMY_DATABASE_URI") or given.get("url")
    if uri is not None:
        options = engine_options(make_url(uri), settings, given)
        config["SQLALCHEMY_DATABASE_URI"] = options.pop("url")
        config["SQLALCHEMY_ENGINE_OPTIONS"] = options
    binds = dict(config.get("SQLALCHEMY_BINDS") or {})
    for key, bind in binds.items():
        own = shared | (dict(bind) if isinstance(bind, Mapping) else {"url": bind})
        if "hide_parameters" in given:  # values of users are as private there
            own.setdefault("hide_parameters", given["hide_parameters"])
        binds[key] = engine_options(make_url(own["url"]), settings, own)
    config["SQLALCHEMY_BINDS"] = binds
    replicas = [make_url(uri) for uri in settings["SQLALCHEMY_REPLICA_URIS"] or ()]
    return [engine_options(url, settings, given, replica=True) for url in replicas]


def engine_options(
    url: URL, settings: Settings, given: Settings = NOTHING, *, replica: bool = False
) -> dict[str, Any]:
    """Return the arguments of `create_engine` for this database; those given win."""
    url = with_driver(url)
    options = {"url": url} | pool_options(url, settings, given)
    if options["poolclass"] is not given.get("poolclass", FairQueuePool):
        # no pool of several connections: its numbers would be refused
        given = {name: value for name, value in given.items() if name not in POOL_OPTIONS}
    options |= {name: value for name, value in given.items() if name != "url"}
    family = CONNECT_ARGS.get(url.drivername)
    arguments = family(url, settings, given) if family else {}
    if replica:
        arguments.pop("target_session_attrs", None)
    return options | {"connect_args": arguments | dict(given.get("connect_args") or {})}


def with_driver(url: URL) -> URL:
    """Return the URL with the driver that this pool knows best, if it names none."""
    return url.set(drivername=DRIVERS.get(url.drivername, url.drivername))


def is_memory(url: URL) -> bool:
    """Tell whether this is SQLite without a file."""
    return url.get_backend_name() == "sqlite" and (
        url.database in (None, "", ":memory:") or url.query.get("mode") == "memory"
    )


def in_command() -> bool:
    """Tell whether a short-lived `flask` command is running, so that no pool is opened."""
    context = click.get_current_context(silent=True)
    # other programs are made with click too: celery, uvicorn
    if context is None or context.find_object(ScriptInfo) is None:
        return False
    return context.info_name != "run"


def pool_options(url: URL, settings: Settings, given: Settings) -> dict[str, Any]:
    """Return the pool's class and its arguments."""
    waiting = {
        "max_waiting": settings["SQLALCHEMY_MAX_WAITING"],
        # engine_from_config, which Flask-SQLAlchemy calls, cuts pool_timeout to whole seconds
        "wait_timeout": given.get("pool_timeout", settings["SQLALCHEMY_POOL_TIMEOUT"]),
    }
    if is_memory(url):
        logger.warning("in-memory SQLite: one connection; pool size, overflow, recycle don't apply")
        # Flask-SQLAlchemy puts a StaticPool in its place, see `extension`
        return {"poolclass": SharedConnectionPool}
    poolclass = given.get("poolclass", NullPool if in_command() else FairQueuePool)
    options: dict[str, Any] = {"poolclass": poolclass}
    if issubclass(poolclass, QueuePool):
        options |= {
            "pool_size": settings["SQLALCHEMY_POOL_SIZE"],
            "max_overflow": settings["SQLALCHEMY_MAX_OVERFLOW"],
            "pool_timeout": settings["SQLALCHEMY_POOL_TIMEOUT"],
        }
        recycle = settings["SQLALCHEMY_POOL_RECYCLE"]
        if recycle is None and not url.drivername.startswith("mysql"):
            recycle = DEFAULTS["SQLALCHEMY_POOL_RECYCLE"]
        if recycle is not None:  # Flask-SQLAlchemy has a default of its own for MySQL
            options["pool_recycle"] = recycle
    if issubclass(poolclass, FairQueuePool):
        options |= waiting
        options |= {"ping_after": settings["SQLALCHEMY_POOL_PING_AFTER"], "jitter": JITTER}
    return options


def _psycopg(url: URL, settings: Settings, given: Settings) -> dict[str, Any]:
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
    host = url.query.get("host", "")
    if isinstance(host, tuple) or "," in host:  # standbys, one of which may be the primary soon
        args["target_session_attrs"] = "read-write"
    if settings["SQLALCHEMY_EXTERNAL_POOLER"] == "pgbouncer":
        # the next transaction may run on another backend, where neither would be
        args["prepare_threshold"] = None
    else:
        timeout = int(settings["SQLALCHEMY_STATEMENT_TIMEOUT"] * 1000)
        args["options"] = f"-c statement_timeout={timeout}" + "".join(
            # the server gives up connections that the network swallowed as soon as the client:
            # by default they count for two hours
            f" -c tcp_keepalives_{name}={args[f'keepalives_{name}']}"
            for name in ("idle", "interval", "count")
        )
    return {name: value for name, value in args.items() if name not in url.query}


def _pymysql(url: URL, settings: Settings, given: Settings) -> dict[str, Any]:
    """Return PyMySQL's parameters; the URL's own win."""
    timeout = settings["SQLALCHEMY_STATEMENT_TIMEOUT"]
    # as on PostgreSQL, unless the application asks for another level
    level = "" if "isolation_level" in given else "='READ-COMMITTED'"
    mariadb, mysql = (f", {name}{level}" if level else "" for name in ISOLATION)
    args = {
        "connect_timeout": settings["SQLALCHEMY_CONNECT_TIMEOUT"],
        "read_timeout": timeout + GRACE,
        "write_timeout": timeout + GRACE,
        # each server reads its own comment: MariaDB counts seconds, MySQL milliseconds
        "init_command": f"SET SESSION /*M!100101 max_statement_time={timeout:g}{mariadb} */"
        f"/*!50708 max_execution_time={int(timeout * 1000)}{mysql} */",
    }
    return {name: value for name, value in args.items() if name not in url.query}


def _sqlite(url: URL, settings: Settings, given: Settings) -> dict[str, Any]:
    return {
        "timeout": settings["SQLALCHEMY_POOL_TIMEOUT"],  # for another writer
        "check_same_thread": False,
        "factory": sqlite.Connection,
    }


ISOLATION = ("tx_isolation", "transaction_isolation")  # MariaDB's name, and MySQL's
CONNECT_ARGS = {
    "postgresql+psycopg": _psycopg,
    "mysql+pymysql": _pymysql,
    "mariadb+pymysql": _pymysql,
    "sqlite": _sqlite,
    "sqlite+pysqlite": _sqlite,
}
