"""Views that meet a deadlock or wait too long, and go on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from common import AFTER, names
from kit import POSTGRESQL, REQUESTS, SERVERS, Side, View, add, attempt, fail
from sqlalchemy import text
from sqlalchemy.engine import Connection

FIRST = text("UPDATE item SET value = value + 1 WHERE id = 1")
SECOND = text("UPDATE item SET value = value + 1 WHERE id = 2")
GIVES_UP = text("SET LOCAL lock_timeout = 50")
Execute = Callable[[Any], Any]


@contextmanager
def rival(side: Side) -> Iterator[Connection]:
    """Give a connection of the engine that somebody else uses."""
    with side.engine.connect() as connection:
        yield connection


def deadlock(side: Side, execute: Execute) -> Any:
    """Lock two rows in turn with a rival that has more to lose, and catch what comes."""
    with rival(side) as other:
        # MariaDB spares who changed more rows
        for number in range(20):
            other.execute(text(f"INSERT INTO child VALUES ({100 + number}, 2, 'heavy')"))
        other.execute(SECOND)
        execute(FIRST)
        if side.family == POSTGRESQL:
            other.execute(text("SET LOCAL deadlock_timeout = '10s'"))
            execute(text("SET LOCAL deadlock_timeout = '80ms'"))
        waiting = threading.Thread(target=lambda: attempt(other.execute, FIRST))
        waiting.start()
        waiting.join(0.05)
        told = attempt(execute, SECOND)
        if not isinstance(told, str):
            told = "done"
        waiting.join(4)
        other.rollback()
    return told


def timeout(side: Side, execute: Execute) -> Any:
    """Wait for a row that a rival has locked, and catch what comes."""
    execute(FIRST)
    if side.family == POSTGRESQL:
        execute(GIVES_UP)
    with rival(side) as other:
        other.execute(SECOND)
        told = attempt(execute, SECOND)
        other.rollback()
    return told


def by_session(side: Side, trouble: Callable[[Side, Execute], Any]) -> Any:
    """Go on writing with the session, without a rollback, and fail."""
    trouble(side, side.session.execute)
    attempt(side.session.execute, AFTER)
    fail()


def by_session_that_commits(side: Side, trouble: Callable[[Side, Execute], Any]) -> Any:
    """Go on writing with the session, without a rollback, and commit."""
    told = [trouble(side, side.session.execute)]
    attempt(side.session.execute, AFTER)
    return [*told, attempt(side.session.commit), attempt(names, side)]


def by_session_that_rolls_back(side: Side, trouble: Callable[[Side, Execute], Any]) -> Any:
    """Roll back, write again and commit."""
    told = trouble(side, side.session.execute)
    side.session.rollback()
    side.session.execute(AFTER)
    side.session.commit()
    return [told, names(side)]


def by_begin(side: Side, trouble: Callable[[Side, Execute], Any]) -> Any:
    """Go on writing in a block of the engine, and fail."""
    with side.engine.begin() as connection:
        trouble(side, connection.execute)
        attempt(connection.execute, AFTER)
        fail()


def by_connect(side: Side, trouble: Callable[[Side, Execute], Any]) -> Any:
    """Go on writing on a connection, and forget to commit."""
    with side.engine.connect() as connection:
        told = trouble(side, connection.execute)
        attempt(connection.execute, AFTER)
    return [told, names(side)]


def by_raw_cursor(side: Side, trouble: Callable[[Side, Execute], Any]) -> Any:
    """Go on writing on a raw cursor, and fail."""
    with side.engine.connect() as connection:
        trouble(side, connection.execute)
        with connection.connection.cursor() as cursor:
            attempt(cursor.execute, AFTER.text)
        fail()


def by_read(side: Side, trouble: Callable[[Side, Execute], Any]) -> Any:
    """Read after the trouble, then write, and roll back."""
    told = [trouble(side, side.session.execute), attempt(names, side)]
    attempt(side.session.execute, AFTER)
    side.session.rollback()
    return [*told, names(side)]


def in_a_savepoint(side: Side, trouble: Callable[[Side, Execute], Any]) -> Any:
    """Meet the trouble in a savepoint, undo it as far as that goes, write and commit."""
    nested = side.session.begin_nested()
    told = [trouble(side, side.session.execute), attempt(nested.rollback)]
    told.append(attempt(side.session.execute, AFTER) and "went on")
    told.append(attempt(side.session.commit))
    side.session.rollback()
    return [*told, names(side)]


def uncaught(side: Side, trouble: Callable[[Side, Execute], Any]) -> Any:
    """Let the error out."""

    def execute(statement: Any) -> Any:
        return side.session.execute(statement)

    with rival(side) as other:
        other.execute(SECOND)
        execute(FIRST)
        if side.family == POSTGRESQL:
            execute(GIVES_UP)
        execute(SECOND)


def register() -> None:
    """Make a view of each trouble and each way to go on."""
    for trouble in (deadlock, timeout):
        for way in (
            by_session, by_session_that_commits, by_session_that_rolls_back, by_begin, by_connect,
            by_raw_cursor, by_read, in_a_savepoint,
        ):  # fmt: skip
            # each lock timeout takes MariaDB a second
            if trouble is timeout and way in {by_connect, by_raw_cursor, by_read, in_a_savepoint}:
                continue
            ways = REQUESTS if trouble is deadlock else ("GET",)
            add(
                View(
                    f"together/{trouble.__name__}@{way.__name__}",
                    lambda side, w=way, t=trouble: w(side, t),
                    on=SERVERS,
                    ways=ways,
                )
            )
    add(
        View(
            "together/uncaught",
            lambda side: uncaught(side, timeout),
            on=SERVERS,
            ways=("GET",),
            passes="a lock that is taken may be free at the next try",
        )
    )


register()
