"""The settings: what each accepts, its default, and where its value comes from.

A server's master reads it before it forks: nothing of Flask, SQLAlchemy or click is imported here.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from functools import cache
from typing import Any, NamedTuple

Check = Callable[[Any], Any]

URI = "SQLALCHEMY_DATABASE_URI"
MASK = "***"
SHORTEST = 0.001  # seconds: servers and drivers count milliseconds, and take 0 for no limit
TINY = 1e-9  # seconds: any above 0
SHORTEST_SECRET = 16
PLACEHOLDERS = ("change", "replace", "placeholder", "example")
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
MOST_DIGITS = 20
MOST_THREADS = 8  # by default; more compete for Python's lock


class SettingError(ValueError):
    """A setting that the service can't start with; one line for each."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


def setting_error(message: str) -> SettingError:
    """Return the error for a wrong setting; a command of click's shows it without a traceback."""
    click = sys.modules.get("click")
    return (_shown_by(click) if click else SettingError)(message)


@cache
def _shown_by(click: Any) -> type[SettingError]:
    return type("SettingError", (click.ClickException, SettingError), {"__module__": __name__})


class Refused(ValueError):
    """What is accepted, and the value as it may be shown."""


def whole(low: int, high: int, *others: int) -> Check:
    """Accept a whole number from `low` to `high`, or one of `others`."""

    def check(value: Any) -> int:
        if isinstance(value, str):
            value = int(value) if _plain_number(value) and "." not in value else None
        if type(value) is int and (low <= value <= high or value in others):
            return value
        extra = "".join(f"{other} or " for other in others)
        raise Refused(f"{extra}a whole number from {low} to {high}")

    return check


def seconds(low: float, high: float) -> Check:
    """Accept a number of seconds from `low` to `high`."""

    def check(value: Any) -> float:
        if isinstance(value, str):
            value = float(value) if _plain_number(value) else None
        if type(value) in (int, float) and low <= value <= high:
            return float(value)
        raise Refused(f"seconds {'above 0' if low == TINY else f'from {low:g}'} to {high:g}")

    return check


def boolean(value: Any) -> bool:
    """Accept true or false as TOML, Python and shells write them."""
    word, true = str(value).lower(), ("true", "1", "yes", "on")
    if word not in (*true, "false", "0", "no", "off"):
        raise Refused("true or false")
    return word in true


def one_of(*choices: str) -> Check:
    """Accept one of these words."""

    def check(value: Any) -> str:
        if value in choices:
            return str(value)
        raise Refused(" or ".join(choices))

    return check


def text(value: Any) -> str:
    """Accept any text that fits into a line, as headers need it."""
    if isinstance(value, str) and not CONTROL.search(value):
        return value
    raise Refused("text without line breaks and control characters", "(not shown)")


def url_prefix(value: Any) -> str:
    """Accept a path to put in front of others, or nothing."""
    if isinstance(value, str) and re.fullmatch(r"(/[\w.~-]+)*", value, re.ASCII):
        return value
    raise Refused("a path such as /internal, or nothing")


def host(value: Any) -> str:
    """Accept a name or an address to listen on."""
    if isinstance(value, str) and re.fullmatch(r"[\w.:-]*", value, re.ASCII):
        return value
    raise Refused("a host name or an address")


def table(value: Any) -> dict[str, Any]:
    """Accept a table, in the environment as JSON."""
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return dict(value)
    raise Refused("a table: {...}", "(not shown)")


def database_url(value: Any) -> Any:
    """Accept a URL that SQLAlchemy can read, and the driver, if the URL names one."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    several = isinstance(value, str) and "," in value.partition("?")[0].rpartition("@")[2]
    if several and not value.startswith("sqlite"):  # which is a file of any name
        raise Refused("...@/DATABASE?host=a:5432&host=b:5432 for several hosts", "(not shown)")
    try:
        url = make_url(value)
    except (ArgumentError, ValueError, AttributeError):
        raise Refused("a URL: postgresql://user:password@host/DATABASE", "(not shown)") from None
    shown = url.set(query={}).render_as_string(hide_password=True)
    if MASK in (url.password, *url.query.values()):
        raise Refused("the URL with its real password, in .env or the environment", shown)
    try:
        if url.drivername != "postgres":  # which SQLAlchemy knows no more, and a service may
            dialect = url.get_dialect()
        if "+" in url.drivername or url.drivername == "sqlite":
            dialect.import_dbapi()
            dialect().create_connect_args(url)
    except ImportError as error:
        raise Refused(f"a driver that is installed ({error})", shown) from None
    except (ArgumentError, ValueError, TypeError):
        raise Refused("a database and options that SQLAlchemy knows", shown) from None
    return value


def database_urls(check: Check = database_url) -> Check:
    """Accept one URL or more, separated by spaces."""

    def check_each(value: Any) -> list[Any]:
        return [check(each) for each in (value.split() if isinstance(value, str) else value)]

    return check_each


def binds(check: Check = database_url) -> Check:
    """Accept a table of database URLs, or of tables of engine options with a `url`."""

    def check_each(value: Any) -> dict[str, Any]:
        return {
            key: {**bind, "url": check(bind.get("url"))}
            if isinstance(bind, Mapping)
            else check(bind)
            for key, bind in table(value).items()
        }

    return check_each


def _plain_number(value: str) -> bool:
    """Tell whether this is a number as people write it: no 1_000, nan or other digits."""
    digits = value.removeprefix("-").replace(".", "", 1)
    return value.isascii() and digits.isdigit() and len(digits) <= MOST_DIGITS


class Setting(NamedTuple):
    """What a setting accepts, its default (None: not set), and a sentence for its documentation."""

    check: Check
    default: Any
    doc: str


SETTINGS: dict[str, Setting] = {
    URI: Setting(
        database_url, None, "The database. Projects of the template read `DATABASE_URL` too."
    ),
    "SQLALCHEMY_POOL_SIZE": Setting(whole(1, 1000), 5, "Connections that each worker keeps."),
    "SQLALCHEMY_MAX_OVERFLOW": Setting(
        whole(0, 1000), 10, "Further connections under load, closed when they are returned."
    ),
    "SQLALCHEMY_POOL_TIMEOUT": Setting(
        seconds(TINY, 3600), 30.0, "Seconds that a request waits for a connection."
    ),
    "SQLALCHEMY_POOL_RECYCLE": Setting(
        whole(1, 86400, -1), 1800, "Seconds after which a connection is replaced, -1 for never."
    ),
    "SQLALCHEMY_POOL_PING_AFTER": Setting(
        seconds(0, 86400), 1.0, "Seconds idle after which a connection is pinged before use."
    ),
    "SQLALCHEMY_CONNECT_TIMEOUT": Setting(
        seconds(SHORTEST, 300), 5.0, "Seconds that connecting may take."
    ),
    "SQLALCHEMY_STATEMENT_TIMEOUT": Setting(
        seconds(SHORTEST, 86400), 30.0, "Seconds that one statement may take."
    ),
    "SQLALCHEMY_MAX_WAITING": Setting(
        whole(0, 100_000),
        None,
        "Requests that may wait for a connection at once; more are refused. Unset: any number.",
    ),
    "SQLALCHEMY_EXTERNAL_POOLER": Setting(
        one_of("none", "pgbouncer"), "none", "`pgbouncer` for PgBouncer in transaction mode."
    ),
    "SQLALCHEMY_REPLICA_URIS": Setting(
        database_urls(), None, "Replicas that safe requests may read from, separated by spaces."
    ),
    # what clients bring back is valid for 30 s: by then each replica must have it, or be left out
    "SQLALCHEMY_REPLICA_LAG": Setting(
        seconds(SHORTEST, 30),
        10.0,
        "Seconds that a replica may lag; one that lags more is left out.",
    ),
    "POOL_PREFILL": Setting(
        boolean, True, "Open the pool's connections as a server's worker starts."
    ),
    "POOL_QUEUE_TARGET": Setting(
        seconds(0, 3600),
        0.1,
        "Seconds that requests may wait in the queue before the longest waits are refused; "
        "0 refuses none.",
    ),
    "POOL_QUEUE_INTERVAL": Setting(
        seconds(SHORTEST, 3600), 0.5, "Seconds over which the shortest wait in the queue is taken."
    ),
    "POOL_HELD_WARNING": Setting(
        seconds(SHORTEST, 86400), 10.0, "Seconds after which a connection in use is logged."
    ),
    "POOL_LEAK_AFTER": Setting(
        seconds(SHORTEST, 86400),
        10.0,
        "Seconds unused after which a connection that its request never returned is reclaimed.",
    ),
    "POOL_URL_PREFIX": Setting(
        url_prefix, "", "What `/metrics`, `/pool` and `/pool.json` begin with, such as `/internal`."
    ),
    "OPS_TOKEN": Setting(
        text, None, "Opens `/metrics`, `/pool` and `/pool.json` to who sends it. Unset: closed."
    ),
    "SERVER_TIMING": Setting(
        boolean, None, "Send `Server-Timing` with each response. Unset: in debug mode only."
    ),
    "WEB_CONCURRENCY": Setting(whole(1, 1000), 1, "Worker processes of the server."),
    "WEB_THREADS": Setting(
        whole(1, 1000), None, "Threads of each worker. Unset: the pool's size, from 2 to 8."
    ),
    "HOST": Setting(host, "127.0.0.1", "Address that the server listens on."),
    "PORT": Setting(whole(1, 65535), 8000, "Port that the server listens on."),
}
CHECKS: dict[str, Check] = {name: setting.check for name, setting in SETTINGS.items()}
# settings that only SQLAlchemy can check, which a server's master does not load
URLS = (URI, "SQLALCHEMY_REPLICA_URIS", "SQLALCHEMY_BINDS")
DEFAULTS = {name: setting.default for name, setting in SETTINGS.items() if name != URI}
# keys of Flask and Flask-SQLAlchemy, for a service that checks them before it starts
SERVICE_CHECKS: dict[str, Check] = {
    "SECRET_KEY": text,
    "MAX_CONTENT_LENGTH": whole(1, 2**40),
    "CONTENT_SECURITY_POLICY": text,
    "SQLALCHEMY_ENGINE_OPTIONS": table,
    "SQLALCHEMY_BINDS": binds(),
}


def checked(
    values: Mapping[str, Any],
    checks: Mapping[str, Check] = CHECKS,
    variables: Mapping[str, str] = {},
) -> dict[str, Any]:
    """Return the values as their checks read them; SettingError with a line for each wrong one.

    The line names the variable that the value came from, if there is one.
    """
    found, wrong = dict(values), []
    for name in found.keys() & checks.keys():
        if found[name] is None:  # not set
            continue
        try:
            found[name] = checks[name](found[name])
        except Refused as refused:
            accepted, shown = (*refused.args, found[name])[:2]
            wrong.append(f"{variables.get(name, name)}: {shown!r} is not accepted; use {accepted}")
    if wrong:
        raise setting_error("\n".join(sorted(wrong)))
    return found


def require_secret(secret: Any) -> None:
    """SettingError for a key that is missing or could be guessed."""
    known = not secret or any(word in str(secret).lower() for word in PLACEHOLDERS)
    if known or len(secret.strip()) < SHORTEST_SECRET:
        raise setting_error(
            "SECRET_KEY: missing, a placeholder or too short; "
            f"use at least {SHORTEST_SECRET} random characters"
        )


def with_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a pool, those that were not given at their defaults."""
    found = DEFAULTS | {name: value for name, value in values.items() if value is not None}
    if found["WEB_THREADS"] is None:
        found["WEB_THREADS"] = min(MOST_THREADS, max(2, found["SQLALCHEMY_POOL_SIZE"]))
    return found


def read(
    defaults: Mapping[str, Any],
    environ: Mapping[str, str],
    overrides: Mapping[str, Any] = {},
    checks: Mapping[str, Check] = CHECKS,
) -> dict[str, Any]:
    """Return all keys: those of the defaults, what the environment sets of them, and the overrides.

    A variable without a check is read as JSON if it is that.
    """
    own = {*checks, *defaults}
    given = from_environment(own, environ)
    values = {name: text if name in checks else _parsed(text) for name, text in given.items()}
    variables = {name: variable_of(name, environ) for name in own - overrides.keys()}
    return checked({**defaults, **values, **overrides}, checks, variables)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def names_of(name: str) -> tuple[str, ...]:
    """Return the variables that set this key, the one that counts first."""
    own = (name, "DATABASE_URL") if name == URI else (name,)
    return (*own, f"FLASK_{name}")


def variable_of(name: str, environ: Mapping[str, str]) -> str:
    """Return the variable that sets this key; its own name if none does."""
    return next((variable for variable in names_of(name) if environ.get(variable)), name)


def from_environment(names: Iterable[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the keys that the environment sets; an empty variable is none."""
    variables = {name: variable_of(name, environ) for name in names}
    return {name: environ[found] for name, found in variables.items() if environ.get(found)}


def environment() -> Mapping[str, str]:
    """Return the environment. What `.env` set of it counts less, by whatever name of the same key.

    The `flask` command has put both into one.
    """
    click: Any = sys.modules.get("click")
    command = click.get_current_context(silent=True) if click else None
    if command is None:
        return os.environ
    from flask.cli import ScriptInfo

    script = command.find_object(ScriptInfo)
    if script is None or not script.load_dotenv_defaults:
        return os.environ
    added = dotenv()
    environ = {name: value for name, value in os.environ.items() if added.get(name) != value}
    add_dotenv(environ, added)
    return environ


def dotenv() -> dict[str, str | None]:
    """Return what `.env` and `.flaskenv` of the working directory set, if python-dotenv is there.

    Flask reads them wherever that is installed, so the library does not bring it along.
    """
    try:
        from dotenv import dotenv_values
    except ModuleNotFoundError:
        return {}
    return dotenv_values(".flaskenv") | dotenv_values(".env")


def add_dotenv(environ: MutableMapping[str, str], dotenv: Mapping[str, str | None]) -> None:
    """Add what `.env` sets and the environment does not, by whatever name of the same key."""
    given = {name: value for name, value in environ.items() if value}
    for variable, value in dotenv.items():
        key = URI if variable == "DATABASE_URL" else variable.removeprefix("FLASK_")
        if value is not None and not any(name in given for name in names_of(key)):
            environ[variable] = value
