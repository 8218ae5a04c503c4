"""The options of each engine: what the settings ask for, added to what the application set."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.engine import URL, make_url
from sqlalchemy.pool import QueuePool

from .queue_pool import FairQueuePool
from .settings import DEFAULTS

Settings = Mapping[str, Any]

JITTER = 0.1  # connections live for 90 to 100 % of the recycle time
FAMILIES = ("sqlite", "postgresql", "mysql", "mariadb")
RESET = "pool_reset_on_return"

logger = logging.getLogger(__name__)


@contextmanager
def in_config(
    app: Flask, db: SQLAlchemy, settings: Settings
) -> Iterator[dict[str | None, dict[str, Any]]]:
    """Have the application's config ask for these engines, and put it back as it was.

    Gives what is added to each engine's options.
    """
    config = app.config
    keys = ("SQLALCHEMY_ENGINE_OPTIONS", "SQLALCHEMY_BINDS")
    before = {key: config[key] for key in keys if key in config}
    # what SQLAlchemy(engine_options=...) was given
    shared = dict(db._engine_options)  # noqa: SLF001
    given = shared | dict(before.get(keys[0]) or {})
    added: dict[str | None, dict[str, Any]] = {}
    uri = config.get("SQLALCHEMY_DATABASE_URI") or given.get("url")
    if uri is not None:
        added[None] = engine_options(make_url(uri), settings, given)
        config[keys[0]] = given | added[None]
    binds = dict(before.get(keys[1]) or {})
    for key, bind in binds.items():
        own = shared | (dict(bind) if isinstance(bind, Mapping) else {"url": bind})
        if "url" in own:
            added[key] = engine_options(make_url(own["url"]), settings, own)
            binds[key] = own | added[key]
    config[keys[1]] = binds
    try:
        yield added
    finally:
        for key in keys:
            config[key] = before.get(key, {})  # as Flask-SQLAlchemy leaves what was not set


def engine_options(url: URL, settings: Settings, given: Settings) -> dict[str, Any]:
    """Return the arguments of `create_engine` that are added to those given."""
    if url.get_backend_name() not in FAMILIES:
        return {}
    if is_memory(url):
        logger.warning("in-memory SQLite: one connection; the pool's numbers do not apply to it")
        return {}
    driver, options = driver_of(url), pool_options(url, settings, given)
    if driver == "psycopg":
        options["connect_args"] = _psycopg(url, settings, dict(given.get("connect_args") or {}))
    elif driver == "pymysql":
        own = dict(given.get("connect_args") or {})
        if "connect_timeout" not in url.query:
            own.setdefault("connect_timeout", settings["SQLALCHEMY_CONNECT_TIMEOUT"])
        options["connect_args"] = own
        if options.get("poolclass") is FairQueuePool and "pool_reset_on_return" not in given:
            options[RESET] = None  # a listener sends the ROLLBACK, if one is needed
    return options


def driver_of(url: URL) -> str:
    """Return the name of the driver that SQLAlchemy takes for a URL; "" if it has none."""
    try:
        return str(url.get_dialect().driver)
    except Exception:  # noqa: BLE001 - of a plugin; creating the engine says what is wrong
        return ""


def is_memory(url: URL) -> bool:
    """Tell whether this is SQLite without a file."""
    return url.get_backend_name() == "sqlite" and (
        url.database in (None, "", ":memory:")
        or url.query.get("mode") == "memory"
        or ":memory:" in str(url.database)
    )


def pool_options(url: URL, settings: Settings, given: Settings) -> dict[str, Any]:
    """Return the pool's class and its arguments; those given win."""
    dialect: Any = url.get_dialect()
    usual = dialect.get_pool_class(url)
    poolclass = given.get("poolclass", FairQueuePool if usual is QueuePool else usual)
    if "pool" in given or not issubclass(poolclass, QueuePool):
        return {}  # an asyncio driver's, or the application's own
    options: dict[str, Any] = {
        "poolclass": poolclass,
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
        wait = given.get("pool_timeout", settings["SQLALCHEMY_POOL_TIMEOUT"])
        options |= {
            "max_waiting": settings["SQLALCHEMY_MAX_WAITING"],
            # engine_from_config, which Flask-SQLAlchemy calls, cuts pool_timeout to whole seconds
            "wait_timeout": None if wait is None else float(wait),
            "ping_after": settings["SQLALCHEMY_POOL_PING_AFTER"],
            "jitter": JITTER,
        }
    return {name: value for name, value in options.items() if name not in given}


def _psycopg(url: URL, settings: Settings, own: dict[str, Any]) -> dict[str, Any]:
    """Return libpq's parameters: the application's, and ours where it has none."""
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
    args = {name: value for name, value in args.items() if name not in url.query} | own
    if settings["SQLALCHEMY_EXTERNAL_POOLER"] == "pgbouncer":
        # the next transaction may run on another backend, where neither would be
        return {"prepare_threshold": None} | args
    timeout = int(settings["SQLALCHEMY_STATEMENT_TIMEOUT"] * 1000)
    parameters = [f"statement_timeout={timeout}"] + [
        # the server gives up connections that the network swallowed as soon as the client:
        # by default they count for two hours
        f"tcp_keepalives_{name}={args[f'keepalives_{name}']}"
        for name in ("idle", "interval", "count")
        if f"keepalives_{name}" in args
    ]
    ours = " ".join(f"-c {each}" for each in parameters)
    # the last one wins: what the application asks for
    theirs = own.get("options") or url.query.get("options") or ""
    return args | {"options": f"{ours} {theirs}".strip()}
