"""The whole story of BEGIN.

The rule is the driver's own: a transaction begins with the first statement, as on any other
Flask-SQLAlchemy application. The exception is a read that surely means the same without one:
in a safe request, sent by a session that nobody told to begin, it is run in autocommit, which
takes one round trip. On SQLite, whose driver begins late and not for everything, BEGIN is sent
from here.
"""

from __future__ import annotations

import re
from contextlib import closing
from enum import IntEnum
from typing import Any
from weakref import WeakKeyDictionary

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.orm import Session, SessionTransaction, SessionTransactionOrigin

from .requests import current, note_transaction

LONGEST = 10_000  # characters of a statement that is worth reading


class Kind(IntEnum):
    """What a statement may do."""

    READ = 0  # surely nothing but read, and alike with a transaction or without
    QUERY = 1  # it asks for rows, and may do anything on the way
    CHANGE = 2
    CONTROL = 3  # of transactions or of SQLite's connection


TOKEN = re.compile(
    r"""\s*(?:
    (?P<name>"[^"\\]*"|`[^`]*`)
    |(?P<value>'[^'\\]*'|\d+(?:\.\d+)?|%\(\w+\)s|%s|\?|:\w+|__\[POSTCOMPILE_[^\]]*\])
    |(?P<cast>::)
    |(?P<word>[A-Za-z_][A-Za-z_0-9]*)
    |(?P<sign><=|>=|<>|!=|\|\||->>?|%%|[-=<>+*/,.()\[\]])
    )""",
    re.VERBOSE,
)
# what may stand before a parenthesis: functions that only compute, and SQL's own words
CALLABLE = frozenset(
    """
    abs avg cast ceil char_length coalesce concat count dense_rank floor greatest ifnull least
    length lower max min nullif rank round row_number substr substring sum trim upper
    and any all as between by case char decimal distinct else except exists filter from having in
    intersect is join like limit not numeric offset on or over partition select some then union
    using varchar when where
    """.split()
) | {""}
# words of statements that write, lock or set, and values that depend on the transaction
DOUBTFUL = frozenset(
    """
    call copy currval delete do exec execute explain for handler insert into lastval localtime
    localtimestamp lock merge nextval now procedure replace returning set sysdate tablesample
    update utc_date utc_time utc_timestamp
    """.split()
)
TYPES = frozenset(
    """
    bigint boolean bytea char date double float integer interval json jsonb numeric real smallint
    text time timestamp uuid varchar
    """.split()
)
FIRST = re.compile(r"[\s(]*(\w*)")
QUERIES = {"SELECT", "VALUES", "WITH", "SAVEPOINT"}
CHANGES = re.compile(r"\b(INSERT|UPDATE|DELETE|REPLACE)\b", re.I)
SET_TRANSACTION = re.compile(r"\s*SET\s+TRANSACTION\b", re.I)
# these begin no transaction, end one, or can't stand in one
CONTROLS = {
    "PRAGMA", "EXPLAIN", "VACUUM", "ATTACH", "DETACH", "BEGIN", "COMMIT", "END", "ROLLBACK",
}  # fmt: skip


class NeedsPrimary(Exception):
    """A replica is not for this statement, which was not sent."""


# as long as SQLAlchemy keeps a statement, which it does for the newest 500 or so
_known: WeakKeyDictionary[Any, Kind] = WeakKeyDictionary()


def watch(engine: Engine, *, only_reads: bool = False) -> None:
    """Have the engine's statements begin what they need; a replica's must need nothing."""
    family = engine.dialect.name
    if only_reads:
        event.listen(engine, "do_execute", _read_alone_or_not)
        for happening in ("do_execute_no_params", "do_executemany"):
            event.listen(engine, happening, _refuse)
        return
    if family == "sqlite":
        for happening in ("do_execute", "do_execute_no_params", "do_executemany"):
            event.listen(engine, happening, _begin_on_sqlite)
    elif engine.dialect.driver in ("psycopg", "pymysql"):
        event.listen(engine, "do_execute", _read_alone)


def watch_sessions(db: SQLAlchemy) -> None:
    """Learn which connections belong to sessions that begin by themselves."""
    if not event.contains(db.session, "after_begin", _after_begin):
        event.listen(db.session, "after_begin", _after_begin)


def read(statement: str) -> Kind:
    """Read a statement strictly; in any doubt it is no READ."""
    word = FIRST.match(statement)
    first = word.group(1).upper() if word else ""
    if first in CONTROLS:
        return Kind.CONTROL
    if first not in QUERIES:
        return Kind.CHANGE
    if first in ("SELECT", "WITH") and len(statement) <= LONGEST and _only_reads(statement):
        return Kind.READ
    return Kind.CHANGE if CHANGES.search(statement) else Kind.QUERY


def _only_reads(statement: str) -> bool:
    if "--" in statement or "/*" in statement:
        return False
    position, end = 0, len(statement.rstrip())
    before = word = ""
    while position < end:
        token = TOKEN.match(statement, position)
        if token is None:
            return False
        position, kind, text = token.end(), token.lastgroup, token.group(token.lastgroup or 0)
        if text == "(" and (before in ("name", "value") or word not in CALLABLE):
            return False
        was_cast, after_dot = before == "cast", word == "."
        before, word = kind or "", ""
        if kind == "word":
            word = text.lower()
            doubtful = word in DOUBTFUL or word.startswith("current")
            if doubtful or (was_cast and word not in TYPES):
                return False
            if after_dot:  # a column; before a parenthesis somebody's own function
                before = "name"
        elif text == ".":
            word = "."
    return True


def _kind(context: Any, statement: str) -> Kind:
    compiled = context.compiled
    if compiled is None:  # the driver's own SQL
        return read(statement)
    kind = _known.get(compiled)
    if kind is None:
        kind = _known[compiled] = read(compiled.string)
    return kind


def _after_begin(session: Session, transaction: SessionTransaction, connection: Connection) -> None:
    attempt = current.get()
    if attempt is not None and attempt.safe:
        root = transaction
        while root.parent is not None:
            root = root.parent
        if root.origin is SessionTransactionOrigin.AUTOBEGIN:
            attempt.readers[connection] = False


def _read_alone(cursor: Any, statement: str, parameters: Any, context: Any) -> bool | None:
    """Run the statement without a transaction, if that is the same; True if it was run."""
    attempt, connection = current.get(), context.root_connection
    if attempt is None or connection not in attempt.readers:
        return None
    if (
        context.compiled is not None
        and _kind(context, statement) is Kind.READ
        and "isolation_level" not in context.execution_options
        and cursor.connection.may_read_alone(cursor)
    ):
        attempt.readers[connection] = True
        cursor.connection.read_alone(cursor, statement, parameters)
        return True
    if attempt.readers[connection] and SET_TRANSACTION.match(statement):
        cursor.execute("SELECT 1")  # it comes too late, as after any read
    return None


def _read_alone_or_not(cursor: Any, statement: str, parameters: Any, context: Any) -> bool | None:
    done = _read_alone(cursor, statement, parameters, context)
    if not done:
        _refuse()
    return done


def _refuse(*sent: Any) -> None:
    if current.get() is not None:  # else it is no request's, but a look at the server
        raise NeedsPrimary


def _begin_on_sqlite(cursor: Any, statement: str, *rest: Any) -> None:
    """Send BEGIN before what needs a transaction, the write lock with it if there is a doubt."""
    connection = cursor.connection
    if connection.in_transaction or connection.isolation_level is None:  # None: autocommit
        return
    kind = _kind(rest[-1], statement)
    if kind is Kind.CONTROL:
        return
    if kind is Kind.CHANGE or _writes_later(connection):
        begin = "BEGIN IMMEDIATE"
    elif kind is Kind.QUERY:
        begin = "BEGIN"
    else:
        return
    note_transaction()
    with closing(connection.cursor()) as own:
        own.execute(begin)


def _writes_later(connection: Any) -> bool:
    """Tell whether this is the first connection of a request that may change something.

    Who reads first and locks then would write over what another wrote in between.
    """
    attempt = current.get()
    if attempt is None or attempt.safe:
        return False
    if attempt.writer is None:
        attempt.writer = connection
    return attempt.writer is connection
