"""The ways to send a script of statements, and the ways to end; each script takes every way."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import scripts
from kit import EVERYWHERE, REQUESTS, Side, View, add, attempt, fail, plain
from sqlalchemy import select, text

Send = Callable[[str], Any]
OUTSIDE = "outside: "


def play(side: Side, script: tuple[str, ...], send: Send) -> list[Any]:
    """Send one statement after the other, whatever comes of each; some are somebody else's."""
    told = []
    for written in script:
        statement = written.replace("$MARK", side.mark)
        if statement.startswith(OUTSIDE):
            told.append(side.outside(statement.removeprefix(OUTSIDE)))
        else:
            told.append(attempt(lambda one=statement: plain(send(one))))
    return told


def by(cursor: Any) -> Send:
    """Give a function that sends a statement on a driver's cursor."""

    def send(statement: str) -> Any:
        cursor.execute(statement)
        return cursor

    return send


def session(side: Side, script: tuple[str, ...]) -> list[Any]:
    """Use the session and end without a word."""
    return play(side, script, lambda one: side.session.execute(text(one)))


def session_commit(side: Side, script: tuple[str, ...]) -> list[Any]:
    """Use the session and commit, which may fail."""
    told = session(side, script)
    return [*told, attempt(side.session.commit)]


def session_rollback(side: Side, script: tuple[str, ...]) -> list[Any]:
    """Use the session, roll back and look again."""
    told = session(side, script)
    side.session.rollback()
    return [*told, play(side, scripts.LOOK, lambda one: side.session.execute(text(one)))]


def session_exception(side: Side, script: tuple[str, ...]) -> None:
    """Use the session, then fail."""
    session(side, script)
    fail()


def read_first(side: Side, script: tuple[str, ...]) -> list[Any]:
    """Read an object, use the session, change the object and commit."""
    item = side.session.scalar(select(side.Item).where(side.Item.id == 1))
    told = session(side, script)
    item.value += 1
    return [*told, attempt(side.session.commit)]


def savepoint(side: Side, script: tuple[str, ...]) -> list[Any]:
    """Use a savepoint of the session, undo it, write and commit."""
    nested = side.session.begin_nested()
    told = session(side, script)
    told.append(attempt(nested.rollback))
    side.session.rollback() if told[-1] else side.session.add(side.Item(id=50, name="beside"))
    return [*told, attempt(side.session.commit)]


def explicit(side: Side, script: tuple[str, ...]) -> list[Any]:
    """Begin the session's transaction by hand and let its block commit it."""
    told: list[Any] = []

    def block() -> None:
        with side.session.begin():
            told.extend(session(side, script))

    return [told, attempt(block)]


def connect(side: Side, script: tuple[str, ...]) -> list[Any]:
    """Use a connection of the engine and end without a word."""
    with side.engine.connect() as connection:
        return play(side, script, lambda one: connection.execute(text(one)))


def begin_commit(side: Side, script: tuple[str, ...]) -> list[Any]:
    """Use a transaction of the engine, which commits."""
    told: list[Any] = []

    def block() -> None:
        with side.engine.begin() as connection:
            told.extend(play(side, script, lambda one: connection.execute(text(one))))

    return [told, attempt(block)]


def begin_exception(side: Side, script: tuple[str, ...]) -> None:
    """Fail inside a transaction of the engine."""
    with side.engine.begin() as connection:
        play(side, script, lambda one: connection.execute(text(one)))
        fail()


def autocommit(side: Side, script: tuple[str, ...]) -> list[Any]:
    """Use a connection that commits each statement, as SQLAlchemy's option says."""
    with side.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        return play(side, script, lambda one: connection.execute(text(one)))


def driver_sql(side: Side, script: tuple[str, ...]) -> list[Any]:
    """Send driver's SQL on the session's connection and end without a word."""
    connection = side.session.connection()
    return play(side, script, connection.exec_driver_sql)


def session_cursor(side: Side, script: tuple[str, ...]) -> None:
    """Use a cursor of the session's connection, then fail."""
    with closing(side.session.connection().connection.cursor()) as cursor:
        play(side, script, by(cursor))
        fail()


def raw_close(side: Side, script: tuple[str, ...]) -> list[Any]:
    """Use a raw connection and give it back without a word."""
    with closing(side.engine.raw_connection()) as raw, closing(raw.cursor()) as cursor:
        return play(side, script, by(cursor))


def raw_commit(side: Side, script: tuple[str, ...]) -> list[Any]:
    """Use a raw connection and commit."""
    with closing(side.engine.raw_connection()) as raw, closing(raw.cursor()) as cursor:
        told = play(side, script, by(cursor))
        return [*told, attempt(raw.commit)]


# every script takes these
ALWAYS = (session, begin_exception, session_cursor)
# and some of these in turn, so that all of a database's scripts together take every way
IN_TURN = (
    session_rollback, session_commit, session_exception, read_first, savepoint, explicit, connect,
    begin_commit, autocommit, driver_sql, raw_close, raw_commit,
)  # fmt: skip
AT_ONCE = 3
# what can't be compared, and why
LEFT_OUT = {
    "sqlite/deferred_constraint@autocommit": "foreign keys are checked, and neither side does that",
    "mariadb/set_transaction_level@savepoint": "a transaction begins at the savepoint, not later",
}


def register(*, every: bool) -> None:
    """Make a view of every script in several ways, or in every way."""
    for family in EVERYWHERE:
        for number, (name, script) in enumerate(scripts.of(family).items()):
            turn = [IN_TURN[(AT_ONCE * number + n) % len(IN_TURN)] for n in range(AT_ONCE)]
            posted = (*ALWAYS, *turn)[number % 3 :: 3]
            for channel in (*ALWAYS, *(IN_TURN if every else turn)):
                if f"{family}/{name}@{channel.__name__}" in LEFT_OUT:
                    continue
                add(
                    View(
                        f"{family}/{name}@{channel.__name__}",
                        lambda side, c=channel, s=script: c(side, s),
                        on=(family,),
                        ways=REQUESTS if every or channel in posted else ("GET",),
                    )
                )
