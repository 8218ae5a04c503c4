"""COMMIT and ROLLBACK: what dies before, during and after, and what is not sent."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from threading import Thread
from time import sleep
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import insert, select, text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session

from .conftest import (
    Database,
    Item,
    Make,
    OpenProxy,
    Seen,
    answer,
    db,
    names,
    on,
    run,
    store,
    stored,
)

BOTH = on("postgresql", "mariadb")


@BOTH
def test_what_died_before_commit_is_unavailable_and_nothing_is_saved(
    app: Flask, database: Database
) -> None:
    seen = Seen(app)

    def view() -> None:
        db.session.add(Item(name="A"))
        db.session.flush()
        database.kill(app)
        db.session.commit()

    response = answer(app, view, "POST")

    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    assert seen.reasons == ["unavailable"]
    assert stored(app) == []


@BOTH
def test_commit_is_not_sent_to_the_dead_and_rollback_works(app: Flask, database: Database) -> None:
    def view() -> None:
        db.session.add(Item(name="lost"))
        db.session.flush()
        database.kill(app)
        with pytest.raises(OperationalError) as caught:
            db.session.commit()
        assert caught.value.connection_invalidated
        assert "COMMIT" in str(caught.value)
        db.session.rollback()
        db.session.add(Item(name="kept"))
        db.session.commit()

    run(app, view, "POST")

    assert stored(app) == ["kept"]


@BOTH
def test_commit_of_reads_alone_on_a_dead_connection_is_refused_too(
    app: Flask, database: Database
) -> None:
    def view() -> None:
        names()
        database.kill(app)
        db.session.commit()

    assert answer(app, view, "POST").status_code == 503


@BOTH
@pytest.mark.parametrize("how", ["flush", "autoflush at commit"])
def test_what_died_before_the_flush_is_unavailable(
    app: Flask, database: Database, how: str
) -> None:
    seen = Seen(app)

    def view() -> None:
        names()
        db.session.add(Item(name="A"))
        database.kill(app)
        if how == "flush":
            db.session.flush()
        db.session.commit()

    assert answer(app, view, "POST").status_code == 503
    assert seen.reasons == ["unavailable"]
    assert stored(app) == []


def by_session() -> None:
    db.session.add(Item(name="A"))
    db.session.commit()


def by_core() -> None:
    with db.engine.begin() as connection:
        connection.execute(insert(Item).values(name="A"))


def by_a_session_of_its_own() -> None:
    with Session(db.engine) as session:
        session.add(Item(name="A"))
        session.commit()


@pytest.fixture
def behind(make_app: Make, database: Database, proxy: OpenProxy, tables: None) -> tuple[Flask, Any]:
    """An application behind a proxy, and the proxy."""
    between = proxy(database.server.port)
    return make_app(database.url(between.port)), between


@BOTH
@pytest.mark.parametrize("work", [by_session, by_core, by_a_session_of_its_own])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_died_during_commit_is_in_doubt(
    app: Flask, behind: tuple[Flask, Any], work: Callable[[], None], method: str
) -> None:
    apart, between = behind
    run(apart, names)
    seen = Seen(apart)
    between.drop_after_client_says = b"COMMIT"

    response = answer(apart, work, method)

    assert (response.status_code, "Retry-After" in response.headers) == (503, False)
    assert "may have been saved" in response.text
    assert seen.reasons == ["in_doubt"]
    assert stored(app) == ["A"]  # once: it is never repeated


@BOTH
def test_a_view_that_catches_what_is_in_doubt_can_go_on(behind: tuple[Flask, Any]) -> None:
    apart, between = behind
    run(apart, names)

    def view() -> object:
        between.drop_after_client_says = b"COMMIT"
        with pytest.raises(OperationalError):
            by_session()
        between.drop_after_client_says = b""
        db.session.rollback()
        return names()

    assert run(apart, view, "POST") == ["A"]


@BOTH
def test_a_rollback_that_dies_is_not_in_doubt(behind: tuple[Flask, Any]) -> None:
    apart, between = behind
    run(apart, names)
    seen = Seen(apart)

    def view() -> None:
        db.session.add(Item(name="A"))
        db.session.flush()
        between.drop_after_client_says = b"ROLLBACK"
        db.session.rollback()

    response = answer(apart, view, "POST")

    between.drop_after_client_says = b""
    assert response.status_code in (200, 503)
    assert "in_doubt" not in seen.reasons
    assert stored(apart) == []


@BOTH
def test_a_request_that_ends_on_a_dead_connection_is_answered(
    app: Flask, database: Database
) -> None:
    """Its ROLLBACK can't arrive, and the server has rolled back."""
    seen = Seen(app)

    def view() -> object:
        db.session.add(Item(name="A"))
        db.session.flush()
        database.kill(app)
        return "done"

    assert run(app, view, "POST") == "done"
    assert seen.reasons == []
    assert stored(app) == []


@BOTH
def test_a_commit_that_the_server_refuses_is_the_programs_own(app: Flask) -> None:
    def view() -> None:
        db.session.add_all([Item(id=1, name="A"), Item(id=2, name="B")])
        db.session.commit()
        db.session.execute(insert(Item).values(id=1, name="C"))

    with pytest.raises(IntegrityError):
        answer(app, view, "POST")
    assert stored(app) == ["A", "B"]


# MariaDB's second ROLLBACK


@pytest.fixture
def rollbacks(app: Flask, database: Database) -> Callable[..., int]:
    """Count the ROLLBACKs that the server gets while a request runs."""

    def sent() -> int:
        (row,) = database.rows("SHOW GLOBAL STATUS LIKE 'Com_rollback'")
        return int(row["Value"])

    def count(view: Callable[[], object], method: str = "GET", own: Flask | None = None) -> int:
        run(own or app, names)
        before = sent()
        run(own or app, view, method)
        return sent() - before

    return count


@on("mariadb")
def test_one_rollback_ends_a_session(rollbacks: Callable[..., int]) -> None:
    assert rollbacks(names) == 1


def claimed() -> None:
    db.session.connection()
    names()


@on("mariadb")
def test_where_the_view_has_the_connection_the_pool_sends_its_own(
    app: Flask, rollbacks: Callable[..., int]
) -> None:
    assert rollbacks(claimed) == 2


@on("mariadb")
def test_a_raw_connection_is_rolled_back(app: Flask, rollbacks: Callable[..., int]) -> None:
    def view() -> None:
        raw = db.engine.raw_connection()
        raw.cursor().execute("INSERT INTO pool_items (name) VALUES ('raw')")
        raw.close()

    assert rollbacks(view) == 1
    assert stored(app) == []


def raw_insert_that_fails() -> None:
    cursor: Any = db.session.connection().connection.cursor()
    with pytest.raises(Exception, match="Duplicate"):
        cursor.execute("INSERT INTO pool_items (id, name) VALUES (1001, 'B')")


def insert_that_fails() -> None:
    with pytest.raises(IntegrityError):
        db.session.execute(insert(Item).values(id=1001, name="B"))


def select_with_a_lock() -> None:
    db.session.scalars(select(Item).with_for_update()).all()


@on("mariadb")
@pytest.mark.parametrize("work", [raw_insert_that_fails, insert_that_fails, select_with_a_lock])
def test_a_lock_is_gone_after_the_request(
    single: Flask, database: Database, work: Callable[[], None]
) -> None:
    """PyMySQL's status shows neither one of a SELECT nor one that a duplicate key leaves."""
    store(single, "A")

    run(single, work, "POST")
    for table in ("pool_parts", "pool_items"):
        database.rows(f"SET STATEMENT innodb_lock_wait_timeout=2 FOR DELETE FROM {table}")

    assert stored(single) == []


@on("mariadb")
def test_a_commit_that_failed_leaves_nothing_behind(app: Flask, database: Database) -> None:
    """A backup's lock: COMMIT is refused, and its transaction still stands on the server."""

    def view() -> None:
        db.session.execute(text("SET SESSION lock_wait_timeout = 1"))
        db.session.add(Item(name="A"))
        db.session.flush()
        with db.engine.connect() as other:
            other.execute(text("FLUSH TABLES WITH READ LOCK"))
            with pytest.raises(DBAPIError):
                db.session.commit()
            other.execute(text("UNLOCK TABLES"))

    run(app, view, "POST")

    assert database.rows("SELECT trx_id FROM information_schema.innodb_trx") == []
    assert stored(app) == []


@on("mariadb")
@pytest.mark.parametrize(("given", "sent"), [("rollback", 2), (None, 1)])
def test_what_the_application_set_for_the_reset_is_done(
    make_app: Make, rollbacks: Callable[..., int], given: Any, sent: int
) -> None:
    apart = make_app(SQLALCHEMY_ENGINE_OPTIONS={"pool_reset_on_return": given})
    # SQLAlchemy leaves its own out after the session's, too
    assert rollbacks(names, own=apart) <= sent


@on("postgresql", "mariadb")
def test_pool_reset_on_return_commit_means_what_sqlalchemy_says(
    make_app: Make, tables: None
) -> None:
    app = make_app(SQLALCHEMY_ENGINE_OPTIONS={"pool_reset_on_return": "commit"})

    def view() -> None:
        raw = db.engine.raw_connection()
        raw.cursor().execute("INSERT INTO pool_items (id, name) VALUES (1, 'raw')")
        raw.close()

    run(app, view)

    assert stored(app) == ["raw"]


@on("postgresql")
def test_a_stream_that_nobody_reads_on_does_not_hold_its_request(app: Flask) -> None:
    """psycopg would wait for its end before it sends ROLLBACK."""
    kept: list[Any] = []

    def view() -> None:
        raw = db.engine.raw_connection()
        kept.append(raw.cursor().stream("SELECT generate_series(1, 100000)"))
        assert next(kept[0]) == (1,)
        raw.close()

    run(app, view)
    kept.pop().close()

    assert run(app, lambda: db.session.scalar(text("SELECT 1"))) == 1


@BOTH
def test_a_connection_that_another_thread_asks_on_answers_nobody_else(
    app: Flask, database: Database
) -> None:
    """Its session ends meanwhile: the thread has its own answer or an error."""
    sleeping = {"postgresql": "pg_sleep(1)", "mariadb": "SLEEP(1)"}[database.kind]
    found: list[Any] = []

    def asking(connection: Connection) -> None:
        with contextlib.suppress(SQLAlchemyError):
            found.append(connection.execute(text(f"SELECT {sleeping}, 7")).one()[1])

    def view() -> Thread:
        thread = Thread(target=asking, args=(db.session.connection(),))
        thread.start()
        sleep(0.3)
        return thread

    run(app, view).join()

    assert found in ([7], [])
    assert [run(app, lambda: db.session.scalar(text("SELECT 1"))) for _ in range(5)] == [1] * 5
