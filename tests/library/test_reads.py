"""Reads without a transaction: round trips, what is never proven, and what a failed one leaves."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from flask import Flask, g, stream_with_context
from sqlalchemy import event, insert, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from .conftest import (
    FIRST,
    Database,
    Item,
    Make,
    OpenProxy,
    answer,
    begun,
    db,
    drivers,
    engine_of,
    on,
    run,
    store,
)

URI = "SQLALCHEMY_DATABASE_URI"


def read() -> Any:
    return db.session.scalars(select(Item.name).order_by(Item.id)).all()


def add() -> None:
    db.session.add(Item(name="new"))
    db.session.commit()


@pytest.fixture
def trips(make_app: Make, database: Database, proxy: OpenProxy, tables: None) -> Callable[..., int]:
    """Count the round trips of a request on a connection that is there."""
    counting = proxy(database.server.port)
    app = make_app(database.url(counting.port))

    def count(view: Callable[[], object], method: str = "GET") -> int:
        for _ in range(8):  # statements are prepared, and the isolation level is known
            run(app, view, method)
        before = counting.round_trips
        run(app, view, method)
        return counting.round_trips - before

    return count


@on("postgresql")
def test_round_trips_on_postgresql(trips: Callable[..., int]) -> None:
    assert trips(read) == 1
    assert trips(lambda: (read(), read())) == 2
    assert trips(read, "POST") == 3  # BEGIN, SELECT, ROLLBACK
    assert trips(add, "POST") == 3


@on("mariadb")
def test_round_trips_on_mariadb(trips: Callable[..., int]) -> None:
    assert trips(read) == 2  # SELECT, and the session's ROLLBACK
    assert trips(add, "POST") == 3  # INSERT, COMMIT, and the pool's ROLLBACK or none


@on("postgresql")
def test_a_safe_request_reads_without_a_transaction(app: Flask) -> None:
    def view() -> object:
        db.session.get(Item, 1)
        found = [begun(app)]
        db.session.execute(text("SELECT 1"))
        found.append(begun(app))
        read()
        return [*found, begun(app)]

    assert run(app, view) == [False] * 3
    assert run(app, view, "OPTIONS") == [False] * 3
    assert run(app, view, "POST") == [True] * 3


@on("postgresql")
def test_a_read_leaves_no_lock_on_its_table(app: Flask, database: Database, make_app: Make) -> None:
    """DDL of others need not wait for the request's end."""

    def view() -> None:
        read()
        with psycopg.connect(database.server.dsn(database.name)) as other:
            other.execute("SET lock_timeout = '5s'")
            other.execute("ALTER TABLE pool_items ADD COLUMN more INTEGER")
            other.execute("ALTER TABLE pool_items DROP COLUMN more")
        read()

    run(app, view)


@on("postgresql")
def test_a_read_stays_prepared(single: Flask) -> None:
    def view() -> int:
        read()
        return len(drivers(single)[0]._prepared._names)

    assert [run(single, view) for _ in range(8)][-1] == 1


def doubt(statement: str) -> Callable[[], None]:
    def view() -> None:
        db.session.execute(text(statement)).all()

    view.__name__ = statement
    return view


def insert_one() -> None:
    db.session.execute(insert(Item).values(name="A"))


def locked() -> None:
    db.session.scalars(select(Item).with_for_update()).all()


def with_server_side_cursor() -> None:
    db.session.execute(text("SELECT 1"), execution_options={"stream_results": True}).all()


def with_yield_per() -> None:
    for _ in db.session.scalars(select(Item).execution_options(yield_per=10)):
        pass


def with_its_own_level() -> None:
    db.session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
    read()


def told_to_begin() -> None:
    db.session.begin()
    read()


def in_a_savepoint() -> None:
    db.session.begin_nested()
    read()


def in_a_pipeline() -> None:
    driver: Any = db.session.connection().connection.driver_connection
    with driver.pipeline():
        db.session.execute(text("SELECT id FROM pool_items"))


def by_a_cursor_of_the_driver() -> None:
    db.session.connection().connection.cursor().execute("SELECT 1")


def in_a_session_of_its_own() -> None:
    g.own = Session(db.engine)
    g.own.scalars(select(Item)).all()


def by_core() -> None:
    g.own = db.engine.connect()
    g.own.execute(select(Item.id)).all()


def many_at_once() -> None:
    db.session.connection().exec_driver_sql("SELECT %s", [(1,), (2,)])


@on("postgresql")
@pytest.mark.parametrize(
    "work",
    [
        doubt("SELECT now()"),
        doubt("SELECT nextval('pool_items_id_seq')"),
        doubt("SELECT id FROM pool_items FOR SHARE"),
        doubt("SELECT pg_advisory_xact_lock(1)"),
        doubt("SHOW search_path"),
        insert_one,
        locked,
        with_server_side_cursor,
        with_yield_per,
        with_its_own_level,
        told_to_begin,
        in_a_savepoint,
        in_a_pipeline,
        by_a_cursor_of_the_driver,
        in_a_session_of_its_own,
        by_core,
        many_at_once,
    ],
)
def test_what_is_not_proven_is_in_a_transaction(app: Flask, work: Callable[[], None]) -> None:
    def view() -> object:
        work()
        found = begun(app)
        if "own" in g:
            g.own.close()
        return found

    assert run(app, view)


@on("postgresql")
@pytest.mark.parametrize(
    "options",
    [
        {"isolation_level": "SERIALIZABLE"},
        {"connect_args": {"options": "-c default_transaction_isolation=serializable"}},
        {"execution_options": {"isolation_level": "REPEATABLE READ"}},
        {"connect_args": {"cursor_factory": type("Traced", (psycopg.Cursor,), {})}},
    ],
    ids=["engine", "server", "execution", "cursor"],
)
def test_options_of_the_engine_under_which_nothing_is_proven(
    make_app: Make, tables: None, options: dict[str, Any]
) -> None:
    app = make_app(SQLALCHEMY_ENGINE_OPTIONS=options)

    assert run(app, lambda: (read(), begun(app))) == ([], True)


@on("postgresql")
def test_autocommit_of_the_engine_needs_no_switch(make_app: Make, tables: None) -> None:
    app = make_app(SQLALCHEMY_ENGINE_OPTIONS={"isolation_level": "AUTOCOMMIT"})

    def view() -> object:
        read()
        db.session.execute(text("INSERT INTO pool_items (id, name) VALUES (1, 'A')"))
        return drivers(app)[0].autocommit

    assert run(app, view)
    assert run(app, lambda: (read(), drivers(app)[0].autocommit)) == (["A"], True)


@on("postgresql")
def test_a_listener_of_the_application_that_sets_the_level_counts(
    make_app: Make, tables: None
) -> None:
    app = make_app()

    def set_level(connection: Any, record: Any) -> None:
        connection.execute("SET default_transaction_isolation = 'repeatable read'")
        connection.commit()

    event.listen(engine_of(app), "connect", set_level)

    assert run(app, lambda: (read(), begun(app))) == ([], True)


@on("postgresql")
@pytest.mark.parametrize(
    "statement",
    [
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SELECT set_config('default_transaction_isolation', 'serializable', false)",
        "SET default_transaction_isolation = 'repeatable read'",
    ],
)
def test_the_level_is_asked_again_after_a_set(make_app: Make, tables: None, statement: str) -> None:
    app = make_app(SQLALCHEMY_POOL_SIZE=1, SQLALCHEMY_MAX_OVERFLOW=0)

    def change() -> object:
        read()
        first = begun(app)
        db.session.execute(text(statement))
        db.session.commit()
        read()
        return first, begun(app)

    assert run(app, change) == (False, True)
    assert run(app, lambda: (read(), begun(app))) == ([], True)


@on("postgresql")
def test_nothing_is_proven_with_an_execute_listener_of_the_application(app: Flask) -> None:
    @event.listens_for(engine_of(app), "do_execute")
    def trace(cursor: Any, statement: str, parameters: Any, context: Any) -> None:
        """Trace."""

    assert run(app, lambda: (read(), begun(app))) == ([], True)


@on("postgresql")
def test_a_connection_that_cannot_be_put_back_is_closed(app: Flask) -> None:
    """A listener of the application's opened a transaction behind SQLAlchemy's back."""
    seen: list[Any] = []

    @event.listens_for(engine_of(app), "after_cursor_execute")
    def begin(
        connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool
    ) -> None:
        if "pool_items" in statement and not seen:
            seen.append(connection.connection.driver_connection)
            seen[0].execute("BEGIN")

    assert run(app, read) == []
    assert seen[0].closed
    assert run(app, lambda: (read(), drivers(app)[0].autocommit)) == ([], False)


def test_a_failed_read_leaves_what_a_failed_transaction_leaves(app: Flask) -> None:
    def view() -> object:
        with suppress(DBAPIError):
            db.session.execute(text("SELECT nothing FROM pool_items"))
        try:
            db.session.execute(text("SELECT 1"))
        except DBAPIError as error:
            return type(error.orig).__name__
        return "went on"

    expected = "InFailedSqlTransaction" if "postgresql" in app.config[URI] else "went on"
    assert run(app, view) == run(app, view, "POST") == expected


@on("postgresql")
def test_a_rollback_ends_what_a_failed_read_left(app: Flask) -> None:
    def view() -> object:
        with suppress(DBAPIError):
            db.session.execute(text("SELECT nothing FROM pool_items"))
        db.session.rollback()
        return read(), begun(app)

    assert run(app, view) == ([], False)


@on("postgresql")
def test_the_error_of_a_failed_read_is_the_first(app: Flask) -> None:
    def view() -> object:
        with pytest.raises(DBAPIError) as caught:
            db.session.execute(text("SELECT 1 / (SELECT count(*) FROM pool_items)"))
        return type(caught.value.orig).__name__

    assert run(app, view) == "DivisionByZero"


@on("postgresql")
def test_a_prepared_read_survives_an_altered_table(single: Flask, database: Database) -> None:
    """0A000, "cached plan must not change result type"."""
    store(single, "A")

    def view() -> object:
        found = db.session.scalars(text("SELECT * FROM pool_items")).all()
        return found, begun(single), read(), begun(single)

    for _ in range(8):
        run(single, view)
    database.rows("ALTER TABLE pool_items ADD COLUMN more INTEGER")
    try:
        for _ in range(2):
            assert run(single, view) == ([FIRST], False, ["A"], False)
    finally:
        database.rows("ALTER TABLE pool_items DROP COLUMN more")


@on("sqlite", "mariadb")
def test_other_drivers_are_never_switched(app: Flask) -> None:
    def settings() -> object:
        (driver,) = drivers(app)
        if hasattr(driver, "get_autocommit"):
            return driver.get_autocommit()
        return driver.isolation_level, getattr(driver, "autocommit", None)

    def view() -> object:
        db.session.connection()
        before = settings()
        read()
        return before == settings()

    assert run(app, view)


@on("postgresql")
def test_sessions_loaded_by_a_stream_read_alone_too(app: Flask) -> None:
    store(app, "A")

    def rows() -> Any:
        yield from read()
        yield str(begun(app))

    response = answer(app, lambda: app.response_class(stream_with_context(rows())))

    assert response.text == "AFalse"
