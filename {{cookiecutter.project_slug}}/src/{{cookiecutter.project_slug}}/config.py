"""Settings: `defaults.toml`, then the environment, then `test_config`, each checked."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from click import ClickException
from flask import Flask
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

Check = Callable[[Any], Any]

MASK = "***"
MINIMUM_SECRET = 16
DRIVERS = {
    "sqlite": "sqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}


class SettingError(ClickException, ValueError):
    """A setting that the service can't start with; one line for each."""


class _Refused(ValueError):
    """What is accepted, and the value as it may be shown."""


def whole(low: int, high: int, *others: int) -> Check:
    """Accept a whole number from `low` to `high`, or one of `others`."""

    def check(value: Any) -> int:
        if isinstance(value, str):
            value = int(value) if _plain_number(value) and "." not in value else None
        if type(value) is int and (low <= value <= high or value in others):
            return value
        extra = "".join(f"{other} or " for other in others)
        raise _Refused(f"{extra}a whole number from {low} to {high}")

    return check


def seconds(high: float, *, zero: bool = False) -> Check:
    """Accept a number of seconds above 0 (or from 0 on) up to `high`."""

    def check(value: Any) -> float:
        if isinstance(value, str):
            value = float(value) if _plain_number(value) else None
        if type(value) in (int, float) and (0 < value <= high or (zero and value == 0)):
            return float(value)
        raise _Refused(f"seconds, {'from' if zero else 'above'} 0 to {high:g}")

    return check


def boolean(value: Any) -> bool:
    """Accept true or false as TOML, Python and shells write them."""
    found = {"true": True, "1": True, "yes": True, "on": True} | {
        "false": False, "0": False, "no": False, "off": False,
    }  # fmt: skip
    if str(value).lower() in found:
        return found[str(value).lower()]
    raise _Refused("true or false")


def one_of(*choices: str) -> Check:
    """Accept one of these words."""

    def check(value: Any) -> str:
        if value in choices:
            return str(value)
        raise _Refused(" or ".join(choices))

    return check


def text(value: Any) -> str:
    """Accept any text."""
    if isinstance(value, str):
        return value
    raise _Refused("text")


def database_url(value: Any) -> str:
    """Return the URL with its driver named; refuse what this service has no driver for."""
    try:
        url: URL = make_url(value)
        family, _, driver = url.drivername.partition("+")
        drivername = DRIVERS[family]
    except (ArgumentError, ValueError, KeyError, AttributeError):
        raise _Refused("a URL of sqlite, postgresql, mysql or mariadb", "(not shown)") from None
    shown = url.render_as_string(hide_password=True)
    if driver and driver != (drivername.partition("+")[2] or "pysqlite"):
        raise _Refused(f"{drivername}://...", shown)
    if family != "sqlite" and not url.database:
        raise _Refused(f"{drivername}://user:password@host/DATABASE", shown)
    if url.password == MASK:
        raise _Refused("the URL with its real password, in .env or the environment", shown)
    return url.set(drivername=drivername).render_as_string(hide_password=False)


SETTINGS: dict[str, Check] = {
    "SQLALCHEMY_DATABASE_URI": database_url,
    "SQLALCHEMY_POOL_SIZE": whole(1, 1000),
    "SQLALCHEMY_MAX_OVERFLOW": whole(0, 1000),
    "SQLALCHEMY_POOL_TIMEOUT": seconds(3600),
    "SQLALCHEMY_POOL_RECYCLE": whole(1, 86400, -1),
    "SQLALCHEMY_POOL_PING_AFTER": seconds(86400, zero=True),
    "SQLALCHEMY_CONNECT_TIMEOUT": seconds(300),
    "SQLALCHEMY_STATEMENT_TIMEOUT": seconds(86400),
    "SQLALCHEMY_MAX_WAITING": whole(0, 100_000),
    "SQLALCHEMY_EXTERNAL_POOLER": one_of("none", "pgbouncer"),
    "POOL_PREFILL": boolean,
    "OPS_TOKEN": text,
    "SERVER_TIMING": boolean,
    "SECRET_KEY": text,
    "WEB_CONCURRENCY": whole(1, 1000),
    "WEB_THREADS": whole(1, 1000),
    "WEB_CPU_AFFINITY": boolean,
    "HOST": text,
    "PORT": whole(1, 65535),
}


def init_app(app: Flask, test_config: Mapping[str, Any] | None) -> None:
    """Fill `app.config`; raise SettingError for a value that is not accepted."""
    overrides = dict(test_config or {})
    app.config.from_mapping(overrides)
    app.config.from_mapping(read(os.environ, overrides))
    app.config["SQLALCHEMY_BINDS"] = {
        key: _bind(key, bind) for key, bind in app.config.get("SQLALCHEMY_BINDS", {}).items()
    }
    app.config.setdefault("SERVER_TIMING", app.debug)
    app.config.setdefault("MAX_CONTENT_LENGTH", 64 * 1024)
    if not app.debug and not app.testing:
        _require_secret(str(app.config.get("SECRET_KEY") or ""))


def read(environ: Mapping[str, str], overrides: Mapping[str, Any] = {}) -> dict[str, Any]:
    """Return every setting that has a value; raise SettingError naming each wrong one."""
    values: dict[str, Any] = tomllib.loads(
        Path(__file__).with_name("defaults.toml").read_text(encoding="utf-8")
    )
    values |= {name: environ[name] for name in SETTINGS if environ.get(name)}
    variable = "SQLALCHEMY_DATABASE_URI"
    if environ.get("DATABASE_URL") and not environ.get(variable):
        # the name that hosting platforms set
        values[variable], variable = environ["DATABASE_URL"], "DATABASE_URL"
    values |= {name: overrides[name] for name in SETTINGS if name in overrides}

    wrong = []
    for name, value in values.items():
        if value is None:  # a test may unset what has a default
            continue
        try:
            values[name] = SETTINGS[name](value)
        except _Refused as refused:
            accepted, shown = (*refused.args, value)[:2]
            name = variable if SETTINGS[name] is database_url else name
            wrong.append(f"{name}: {shown!r} is not accepted; use {accepted}")
    if wrong:
        raise SettingError("\n".join(wrong))
    values.setdefault(
        "WEB_THREADS", min(8, values["SQLALCHEMY_POOL_SIZE"] + values["SQLALCHEMY_MAX_OVERFLOW"])
    )
    return {name: value for name, value in values.items() if value is not None}


def _bind(key: str, bind: Any) -> dict[str, Any]:
    """Return a bind's engine options with its URL's driver named."""
    options = dict(bind) if isinstance(bind, Mapping) else {"url": bind}
    try:
        return options | {"url": database_url(options.get("url"))}
    except _Refused as refused:
        raise SettingError(f"SQLALCHEMY_BINDS[{key!r}]: use {refused.args[0]}") from None


def _plain_number(value: str) -> bool:
    """Tell whether this is a number as people write it: no 1_000, nan or other digits."""
    return value.isascii() and value.removeprefix("-").replace(".", "", 1).isdigit()


def _require_secret(secret: str) -> None:
    if len(secret) < MINIMUM_SECRET or "change" in secret.lower():
        raise SettingError(
            "SECRET_KEY: missing, a placeholder or too short; "
            f"use at least {MINIMUM_SECRET} random characters"
        )
