"""What the views of this folder are written with: a register, one side's names, errors as words."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import psycopg
import pymysql
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.engine import CursorResult, Engine
from sqlalchemy.exc import SQLAlchemyError

POSTGRESQL, MARIADB, SQLITE = "postgresql", "mariadb", "sqlite"
EVERYWHERE = (POSTGRESQL, MARIADB, SQLITE)
SERVERS = (POSTGRESQL, MARIADB)

# outside a request, in an application context
CONTEXT = "CONTEXT"
REQUESTS = ("GET", "POST")
EVERY_WAY = ("GET", "POST", CONTEXT)
METHODS = ("GET", "POST", "HEAD", "OPTIONS")

ERRORS = (SQLAlchemyError, psycopg.Error, pymysql.Error, sqlite3.Error)


@dataclass
class Side:
    """One application's database, as a view sees it: the same names on both sides."""

    family: str
    db: SQLAlchemy
    models: SimpleNamespace
    # asks on a connection that belongs to neither application
    outside: Callable[[str], Any]
    # the name of the database, for what must differ where sides share a server
    mark: str

    def __getattr__(self, name: str) -> Any:
        """Give a model by its name."""
        return getattr(self.models, name)

    @property
    def session(self) -> Any:
        """The session of the context."""
        return self.db.session

    @property
    def engine(self) -> Engine:
        """The default engine."""
        return self.db.engine


@dataclass(frozen=True)
class View:
    """A view and how it is run."""

    name: str
    function: Callable[..., Any]
    on: tuple[str, ...] = EVERYWHERE
    ways: tuple[str, ...] = EVERY_WAY
    # how often one client asks before its rows are looked at
    times: int = 1
    # the application's hooks that run around this view alone
    hooks: dict[str, Callable[..., Any]] = field(default_factory=dict)
    # what the application does with errors of a class that it handles
    handles: str = ""
    # why the pool may answer 503 where the plain application answers 500
    passes: str = ""


VIEWS: dict[str, View] = {}


def view(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a view under its module's and its own name."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        add(View(f"{function.__module__}/{function.__name__}", function, **options))
        return function

    return register


def add(one: View) -> None:
    """Register a view; no two have one name."""
    if one.name in VIEWS:
        raise ValueError(one.name)
    VIEWS[one.name] = one


class Deliberate(Exception):
    """What a view raises to end without an answer."""


def fail() -> None:
    """Fail on purpose."""
    raise Deliberate


def word(error: BaseException) -> str:
    """Name an error as a view sees it: its class, and that of the driver's error inside."""
    inner = getattr(error, "orig", None)
    code = getattr(inner or error, "sqlstate", None)
    if isinstance(inner or error, pymysql.Error):
        code = next((one for one in (inner or error).args if isinstance(one, int)), None)
    name = type(error).__name__ + (f" from {type(inner).__name__}" if inner else "")
    return f"{name} {code}" if code else name


def attempt(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function and give what it gives, or the word for its error."""
    try:
        found = function(*arguments)
        return plain(found) if isinstance(found, CursorResult) else found
    except ERRORS as error:
        return word(error)


def plain(result: Any) -> Any:
    """Give the rows of a result or a cursor, or how many rows the statement touched."""
    if isinstance(result, CursorResult):
        return rows(result) if result.returns_rows else result.rowcount
    return rows(result.fetchall()) if result.description else result.rowcount


def rows(found: Iterable[Any]) -> list[Any]:
    """Give rows as lists, those of one column as values."""
    listed = [list(row) for row in found]
    return [row[0] if len(row) == 1 else row for row in listed]
