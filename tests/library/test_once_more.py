"""A proven read whose connection died is run once more, and the view does not notice."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, stream_with_context
from sqlalchemy import event, select, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import joinedload, selectinload

from .conftest import (
    FIRST,
    Database,
    Item,
    Make,
    Seen,
    answer,
    db,
    engine_of,
    names,
    on,
    run,
    store,
    stored,
)

Kill = Callable[[], None]


@pytest.fixture
def kill(app: Flask, database: Database) -> Kill:
    """Close every connection of the application from the server's side."""
    return lambda: database.kill(app)


@on("postgresql")
def test_a_kill_before_each_read_is_not_noticed(app: Flask, kill: Kill) -> None:
    store(app, "A", "B")
    seen = Seen(app)

    def view() -> object:
        found: list[Any] = [names()]
        kill()
        item = db.session.get(Item, FIRST)
        assert item is not None
        found.append(item.name)
        kill()
        db.session.refresh(item)
        found.append(item.name)
        kill()
        found.append([part.id for part in item.parts])  # a lazy load
        db.session.expire(item)
        kill()
        found.append(item.name)  # an expired attribute
        kill()
        found.append(db.session.scalar(text("SELECT count(*) FROM pool_parts")))
        return found

    assert run(app, view) == [["A", "B"], "A", "A", [FIRST], "A", 2]
    assert seen.retries == 5
    assert seen.replacements == ["died"] * 5
    assert seen.reasons == []


@on("postgresql")
def test_a_death_of_a_new_connection_before_its_first_read_is_not_noticed(
    app: Flask, kill: Kill
) -> None:
    """Its isolation level is not known yet."""
    store(app, "A")
    engine_of(app).dispose()
    killed: list[bool] = []

    @event.listens_for(engine_of(app), "before_cursor_execute")
    def kill_first(*_: Any) -> None:
        if not killed:
            killed.append(True)
            kill()

    assert run(app, names) == ["A"]


@on("postgresql")
@pytest.mark.parametrize("load", [selectinload, joinedload])
def test_a_kill_in_the_middle_of_eager_loading_is_not_noticed(
    app: Flask, kill: Kill, load: Any
) -> None:
    store(app, "A", "B")
    killed: list[bool] = []

    @event.listens_for(engine_of(app), "before_cursor_execute")
    def kill_before_parts(
        connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool
    ) -> None:
        if "pool_parts" in statement and not killed:
            killed.append(True)
            kill()

    def view() -> object:
        items = db.session.scalars(select(Item).options(load(Item.parts)).order_by(Item.id))
        return [(item.name, [part.id for part in item.parts]) for item in items.unique()]

    assert run(app, view) == [("A", [FIRST]), ("B", [FIRST + 1])]
    assert killed


@on("postgresql")
def test_a_kill_while_rows_are_walked_is_not_noticed(app: Flask, kill: Kill) -> None:
    store(app, "A", "B", "C")

    def view() -> object:
        found = []
        for item in db.session.scalars(select(Item).order_by(Item.id)):
            kill()
            found.append((item.name, [part.item.name for part in item.parts]))
        return found

    assert run(app, view) == [("A", ["A"]), ("B", ["B"]), ("C", ["C"])]


@on("sqlite", "mariadb")
def test_elsewhere_the_first_read_of_a_transaction_is_run_once_more(
    app: Flask, database: Database
) -> None:
    store(app, "A")
    seen = Seen(app)

    @event.listens_for(engine_of(app), "before_cursor_execute")
    def kill_first(*_: Any) -> None:
        if not seen.retries:
            database.kill(app)

    assert run(app, names) == ["A"]
    assert seen.retries == 1


@on("sqlite", "mariadb")
def test_elsewhere_a_later_read_is_not(app: Flask, kill: Kill) -> None:
    """It may depend on what the first one saw."""
    seen = Seen(app)

    def view() -> None:
        names()
        kill()
        names()

    assert answer(app, view).status_code == 503
    assert (seen.retries, seen.reasons) == (0, ["unavailable"])


@on("sqlite", "mariadb")
def test_elsewhere_the_first_of_a_second_transaction_is(app: Flask, database: Database) -> None:
    store(app, "A")
    seen = Seen(app)

    @event.listens_for(engine_of(app), "before_cursor_execute")
    def kill_last(*_: Any) -> None:
        if armed and not seen.retries:
            database.kill(app)

    armed: list[bool] = []

    def view() -> object:
        names()
        db.session.rollback()
        armed.append(True)
        return names()

    assert run(app, view) == ["A"]
    assert seen.retries == 1


@on("postgresql", "mariadb")
def test_a_second_death_is_raised(app: Flask, database: Database) -> None:
    run(app, names)
    seen = Seen(app)
    sent: list[str] = []

    @event.listens_for(engine_of(app), "before_cursor_execute")
    def kill_always(
        connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool
    ) -> None:
        sent.append(statement)
        database.kill(app)

    response = answer(app, names)

    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    assert len(sent) == 2
    assert (seen.retries, seen.reasons) == (1, ["unavailable"])


def new_object() -> None:
    db.session.add(Item(name="new"))


def changed_object() -> None:
    db.session.scalars(select(Item)).first().name = "changed"  # type: ignore[union-attr]


def deleted_object() -> None:
    db.session.delete(db.session.scalars(select(Item)).one())


def flushed_object() -> None:
    db.session.add(Item(name="new"))
    db.session.flush()


def savepoint() -> None:
    db.session.begin_nested()


def savepoint_released() -> None:
    with db.session.begin_nested():
        names()


def advisory_lock() -> None:
    db.session.execute(text("SELECT pg_advisory_lock(1)"))


def named_lock() -> None:
    db.session.execute(text("SELECT GET_LOCK('a', 1)"))


def setting() -> None:
    db.session.execute(text("SET application_name = 'mine'"))


def temporary_table() -> None:
    db.session.execute(text("CREATE TEMPORARY TABLE mine (id INTEGER)"))


def the_connection() -> None:
    db.session.connection()


def told_to_begin() -> None:
    db.session.begin()


def raw_cursor() -> None:
    db.session.connection().connection.cursor().execute("SELECT 1")


def transactional_read() -> None:
    db.session.execute(text("SELECT now()")).all()


WORK = [
    new_object,
    changed_object,
    deleted_object,
    flushed_object,
    savepoint,
    savepoint_released,
    setting,
    temporary_table,
    the_connection,
    told_to_begin,
    raw_cursor,
    transactional_read,
]


def not_again(app: Flask, kill: Kill, work: Callable[[], None], method: str = "GET") -> None:
    store(app, "A")
    seen = Seen(app)
    before: list[str] = []

    def view() -> None:
        work()
        with db.session.no_autoflush:
            names()
            kill()
            before.append("killed")
            names()

    assert answer(app, view, method).status_code == 503
    assert (seen.retries, seen.reasons, before) == (0, ["unavailable"], ["killed"])
    assert stored(app) == ["A"]


@on("postgresql")
@pytest.mark.parametrize("work", [*WORK, advisory_lock])
def test_what_would_be_lost_is_not_run_once_more(
    app: Flask, kill: Kill, work: Callable[[], None]
) -> None:
    not_again(app, kill, work)


@on("mariadb")
@pytest.mark.parametrize("work", [named_lock, savepoint, flushed_object, raw_cursor])
def test_what_would_be_lost_on_mariadb_is_not_run_once_more(
    app: Flask, kill: Kill, work: Callable[[], None]
) -> None:
    not_again(app, kill, work)


@on("postgresql")
def test_an_unsafe_request_is_not_run_once_more(app: Flask, kill: Kill) -> None:
    not_again(app, kill, lambda: None, "POST")


@on("postgresql")
def test_a_lock_of_an_earlier_transaction_counts_too(app: Flask, kill: Kill) -> None:
    """The lock is the connection's, and a commit does not end it."""
    store(app, "A")
    seen = Seen(app)

    def view() -> None:
        with db.engine.connect() as own:
            own.execute(text("SELECT pg_advisory_lock(2)"))
            own.commit()
            kill()
            own.execute(text("SELECT 1"))

    assert answer(app, view).status_code == 503
    assert seen.retries == 0


@on("postgresql")
def test_what_a_view_sent_by_itself_after_reads_counts(app: Flask, kill: Kill) -> None:
    """A lock outlives its transaction; the Connection was asked for after the first read."""
    seen = Seen(app)

    def view() -> None:
        names()
        db.session.connection().execute(text("SELECT pg_advisory_lock(3)"))
        kill()
        names()

    assert answer(app, view).status_code == 503
    assert seen.retries == 0


@on("postgresql")
def test_changes_made_after_a_death_are_kept(app: Flask, kill: Kill) -> None:
    store(app, "A")

    def view() -> None:
        names()
        kill()
        names()
        db.session.add(Item(name="B"))
        db.session.commit()

    run(app, view)

    assert sorted(stored(app)) == ["A", "B"]


@on("postgresql")
def test_listeners_of_the_application_are_harmless(app: Flask, kill: Kill) -> None:
    store(app, "A")
    errors: list[Any] = []
    reads: list[Any] = []
    event.listen(engine_of(app), "handle_error", errors.append)

    def on_execute(state: Any) -> None:
        reads.append(state)

    event.listen(db.session, "do_orm_execute", on_execute)
    try:

        def view() -> object:
            names()
            kill()
            return names()

        assert run(app, view) == ["A"]
    finally:
        event.remove(db.session, "do_orm_execute", on_execute)
    assert (len(errors), len(reads)) == (1, 2)  # though the second was sent twice


@on("postgresql")
@pytest.mark.parametrize("handled", [OperationalError, DBAPIError, Exception, 500])
def test_error_handlers_of_the_application_do_not_turn_it_off(
    app: Flask, kill: Kill, handled: Any
) -> None:
    app.register_error_handler(handled, lambda error: ("handled", 500))
    app.testing = False
    store(app, "A")

    def view() -> object:
        names()
        kill()
        return names()

    assert run(app, view) == ["A"]


@on("postgresql")
def test_pre_ping_is_harmless(make_app: Make, database: Database, tables: None) -> None:
    app = make_app(SQLALCHEMY_ENGINE_OPTIONS={"pool_pre_ping": True})
    store(app, "A")
    seen = Seen(app)

    def view() -> object:
        found = names()
        database.kill(app)
        return found + names()

    assert run(app, view) == ["A", "A"]
    assert seen.retries == 1


@on("postgresql")
def test_a_stream_that_has_begun_goes_on(app: Flask, kill: Kill) -> None:
    store(app, "A", "B")

    def rows() -> Any:
        yield from names()
        kill()
        yield from names()

    assert answer(app, lambda: app.response_class(stream_with_context(rows()))).text == "ABAB"


@on("postgresql")
def test_all_connections_dead_at_once_are_no_error(app: Flask, kill: Kill) -> None:
    store(app, "A")

    def view() -> object:
        with db.engine.connect(), db.engine.connect():
            names()
        kill()
        return names()

    assert run(app, view) == ["A"]


@on("postgresql")
def test_nothing_is_logged_as_an_error(
    app: Flask, kill: Kill, caplog: pytest.LogCaptureFixture
) -> None:
    def view() -> None:
        names()
        kill()
        names()

    run(app, view)
    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []
