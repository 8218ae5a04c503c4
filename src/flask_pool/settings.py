"""The pool's settings: what each accepts, its default, and where its value comes from.

Imports nothing of the package, so that a server's configuration can read it by path.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from typing import Any

from click import ClickException
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

Check = Callable[[Any], Any]

URI = "SQLALCHEMY_DATABASE_URI"
MASK = "***"
DRIVERS = {
    "sqlite": "sqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}
SHORTEST = 0.001  # seconds: servers and drivers count milliseconds, and take 0 for no limit
TINY = 1e-9  # seconds: any above 0
SHORTEST_SECRET = 16
PLACEHOLDERS = ("change", "replace", "placeholder", "example")
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
MOST_DIGITS = 20
MOST_THREADS = 8  # by default; more fight for Python's lock


class SettingError(ClickException, ValueError):
    """A setting that the service can't start with; one line for each."""

    def __str__(self) -> str:
        return self.message


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


def binds(value: Any) -> dict[str, Any]:
    """Accept a table of database URLs, or of tables of engine options with a `url`."""
    for bind in table(value).values():
        database_url(bind.get("url") if isinstance(bind, Mapping) else bind)
    return dict(value)


def database_url(value: Any) -> str:
    """Return the URL with its driver named; refuse what there is no driver for."""
    several = isinstance(value, str) and "," in value.partition("?")[0].rpartition("@")[2]
    if several and not value.startswith("sqlite:"):  # which is a file of any name
        raise Refused("...@/DATABASE?host=a:5432&host=b:5432 for several hosts", "(not shown)")
    try:
        url: URL = make_url(value)
        family, _, driver = url.drivername.partition("+")
        drivername = DRIVERS[family]
    except (ArgumentError, ValueError, KeyError, AttributeError):
        raise Refused("a URL of sqlite, postgresql, mysql or mariadb", "(not shown)") from None
    shown = url.set(query={}).render_as_string(hide_password=True)
    if driver and driver != (drivername.partition("+")[2] or "pysqlite"):
        raise Refused(f"{drivername}://...", shown)
    if family != "sqlite" and not url.database:
        raise Refused(f"{drivername}://user:password@host/DATABASE", shown)
    if MASK in (url.password, *url.query.values()):
        raise Refused("the URL with its real password, in .env or the environment", shown)
    url = url.set(drivername=drivername)
    try:
        url.get_dialect()().create_connect_args(url)
    except (ArgumentError, ValueError, TypeError):
        raise Refused("a URL whose options are the driver's", shown) from None
    return url.render_as_string(hide_password=False)


def database_urls(value: Any) -> list[str]:
    """Accept one URL or more, separated by spaces."""
    return [database_url(each) for each in (value.split() if isinstance(value, str) else value)]


def _plain_number(value: str) -> bool:
    """Tell whether this is a number as people write it: no 1_000, nan or other digits."""
    digits = value.removeprefix("-").replace(".", "", 1)
    return value.isascii() and digits.isdigit() and len(digits) <= MOST_DIGITS


# what each setting accepts, and its default; None: not set
SETTINGS: dict[str, tuple[Check, Any]] = {
    URI: (database_url, None),
    "SQLALCHEMY_POOL_SIZE": (whole(1, 1000), 5),
    "SQLALCHEMY_MAX_OVERFLOW": (whole(0, 1000), 10),
    "SQLALCHEMY_POOL_TIMEOUT": (seconds(TINY, 3600), 30.0),
    "SQLALCHEMY_POOL_RECYCLE": (whole(1, 86400, -1), 1800),
    "SQLALCHEMY_POOL_PING_AFTER": (seconds(0, 86400), 1.0),
    "SQLALCHEMY_CONNECT_TIMEOUT": (seconds(SHORTEST, 300), 5.0),
    "SQLALCHEMY_STATEMENT_TIMEOUT": (seconds(SHORTEST, 86400), 30.0),
    "SQLALCHEMY_MAX_WAITING": (whole(0, 100_000), None),
    "SQLALCHEMY_REPLICA_URIS": (database_urls, None),
    # what clients bring back is valid for 30 s: by then each replica must have it, or be left out
    "SQLALCHEMY_REPLICA_LAG": (seconds(SHORTEST, 30), 10.0),
    "SQLALCHEMY_EXTERNAL_POOLER": (one_of("none", "pgbouncer"), "none"),
    "POOL_PREFILL": (boolean, True),
    "POOL_HELD_WARNING": (seconds(SHORTEST, 86400), 10.0),
    "POOL_LEAK_AFTER": (seconds(SHORTEST, 86400), 10.0),
    "OPS_TOKEN": (text, None),
    "SERVER_TIMING": (boolean, None),
    "WEB_CONCURRENCY": (whole(1, 1000), 1),
    "WEB_THREADS": (whole(1, 1000), None),
    "HOST": (host, "127.0.0.1"),
    "PORT": (whole(1, 65535), 8000),
}
CHECKS = {name: check for name, (check, _) in SETTINGS.items()}
# of the service, which a server checks before it starts too
SERVICE_CHECKS: dict[str, Check] = {
    "SECRET_KEY": text,
    "MAX_CONTENT_LENGTH": whole(1, 2**40),
    "CONTENT_SECURITY_POLICY": text,
    "SQLALCHEMY_ENGINE_OPTIONS": table,
    "SQLALCHEMY_BINDS": binds,
}
DEFAULTS = {name: default for name, (_, default) in SETTINGS.items() if name != URI}


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
            name = variables.get(name, name)
            wrong.append(f"{name}: {shown!r} is not accepted; use {accepted}")
    if wrong:
        raise SettingError("\n".join(sorted(wrong)))
    return found


def require_secret(secret: Any) -> None:
    """SettingError for a key that is missing or could be guessed."""
    known = not secret or any(word in str(secret).lower() for word in PLACEHOLDERS)
    if known or len(secret.strip()) < SHORTEST_SECRET:
        raise SettingError(
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
    """Return all keys: those of the defaults, what the environment says, and the overrides.

    The environment sets a key that has a check or a default by the key's own name, and any
    other as FLASK_<KEY>; what has no check is read as JSON if it is that.
    """
    # FLASK_DEBUG is read by Flask itself
    prefixed = {name for name in environ if name.startswith("FLASK_")} - {"FLASK_DEBUG"}
    given = {name.removeprefix("FLASK_"): environ[name] for name in prefixed if environ[name]}
    own = {*checks, *defaults}
    given |= from_environment(own, environ)
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
    found = {}
    for name in names:
        for variable in names_of(name):
            if environ.get(variable):
                found[name] = environ[variable]
                break
    return found


def add_dotenv(environ: MutableMapping[str, str], dotenv: Mapping[str, str | None]) -> None:
    """Add what `.env` sets and the environment does not, by whatever name of the same key."""
    given = {name: value for name, value in environ.items() if value}
    for variable, value in dotenv.items():
        key = URI if variable == "DATABASE_URL" else variable.removeprefix("FLASK_")
        if value is not None and not any(name in given for name in names_of(key)):
            environ[variable] = value
