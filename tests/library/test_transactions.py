"""When a transaction begins, and what code sees of it: as on the plain application."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, g
from sqlalchemy import func, select, text

from .conftest import Item, Make, begun, db, on, run, stored

METHODS = pytest.mark.parametrize("method", ["GET", "POST"])


def count() -> int:
    return db.session.scalar(select(func.count()).select_from(Item)) or 0


def is_sqlite() -> bool:
    return db.engine.dialect.name == "sqlite"


def test_an_unsafe_request_is_one_transaction(app: Flask) -> None:
    # SQLite's driver begins nothing for a SELECT
    assert run(app, lambda: (count(), begun(app) or is_sqlite()), "POST") == (0, True)


def test_code_outside_requests_reads_in_a_transaction(app: Flask) -> None:
    with app.app_context():
        count()
        assert begun(app) is not is_sqlite()


def test_the_first_doubt_begins_a_transaction_on_the_same_connection(app: Flask) -> None:
    def view() -> object:
        count()
        first = db.session.connection().connection.dbapi_connection
        db.session.add(Item(name="A"))
        after = count()
        same = db.session.connection().connection.dbapi_connection is first
        return after, same, begun(app)

    assert run(app, view) == (1, True, True)


def test_an_explicit_begin_is_a_transaction_in_any_request(app: Flask) -> None:
    def view() -> object:
        with db.session.begin():
            db.session.execute(text("SELECT 1 AS one FROM pool_items"))
            return begun(app) or is_sqlite()

    assert run(app, view)


def test_a_connection_by_hand_is_a_transaction_in_any_request(app: Flask) -> None:
    def view() -> object:
        with db.engine.connect() as connection:
            connection.execute(select(Item.id))
            return begun(app) or is_sqlite()

    assert run(app, view)


@METHODS
def test_what_is_not_committed_is_rolled_back(app: Flask, method: str) -> None:
    def view() -> object:
        db.session.add(Item(name="A"))
        db.session.flush()
        return count()

    assert run(app, view, method) == 1
    assert stored(app) == []


def through_the_session() -> Any:
    return db.session.connection().connection.cursor()


def through_the_engine() -> Any:
    g.taken = db.engine.connect()
    g.taken.begin()
    return g.taken.connection.cursor()


def through_the_pool() -> Any:
    g.taken = db.engine.raw_connection()
    return g.taken.cursor()


@METHODS
@pytest.mark.parametrize("take", [through_the_session, through_the_engine, through_the_pool])
def test_a_raw_cursor_is_rolled_back_too(app: Flask, take: Callable[[], Any], method: str) -> None:
    def view() -> object:
        cursor = take()
        cursor.execute("INSERT INTO pool_items (id, name) VALUES (1, 'raw')")
        return cursor.rowcount

    assert run(app, view, method) == 1
    gc.collect()  # who forgot a Connection has it returned by the garbage collector
    assert stored(app) == []


def test_a_raw_cursor_after_reads_is_in_a_transaction(app: Flask) -> None:
    """What was switched for a read is put back before anybody else can see it."""

    def view() -> object:
        count()
        cursor = through_the_session()
        cursor.execute("INSERT INTO pool_items (id, name) VALUES (1, 'raw')")
        found = count()
        db.session.rollback()
        return found

    assert run(app, view) == 1
    assert stored(app) == []


@on("postgresql", "mariadb")
def test_autocommit_of_the_application_stays(make_app: Make, tables: None) -> None:
    """A driver's connection is as it was set, before a proven read and after it."""
    app = make_app(SQLALCHEMY_ENGINE_OPTIONS={"connect_args": {"autocommit": True}})

    def view() -> None:
        count()
        db.session.execute(text("INSERT INTO pool_items (id, name) VALUES (1, 'A')"))
        count()
        db.session.execute(text("INSERT INTO pool_items (id, name) VALUES (2, 'B')"))

    run(app, view)
    run(app, view=count)

    assert stored(app) == ["A", "B"]


def test_one_request_holds_one_connection(app: Flask, engine: Any) -> None:
    app.before_request(lambda: str(count()) and None)

    def view() -> object:
        db.session.add(Item(name="A"))
        db.session.commit()
        db.session.get(Item, 1)
        return engine.pool.checkedout()

    assert run(app, view) == 1
