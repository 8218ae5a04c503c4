"""What surrounds a request: one more try when its connection dies, and forgotten connections."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from threading import Event, Thread
from time import sleep
from typing import Any

import pytest
from flask import Flask, flash, g, get_flashed_messages, request, session, stream_with_context
from flask.testing import FlaskClient
from sqlalchemy import select, text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

from flask_pool.observer import Observer
from flask_pool.requests import run_once

from .conftest import Item, Make, db

SECRET = "only-for-these-tests"


def die() -> None:
    """Close the session's connection behind the back of all but the driver."""
    connection: Any = db.session.connection().connection.dbapi_connection
    connection.close()


def ask() -> int:
    return db.session.scalar(text("SELECT 1")) or 0


class Count(Observer):
    """Counts what the pool tells."""

    def __init__(self) -> None:
        self.retries = 0
        self.leaks: list[str] = []

    def retried(self) -> None:
        self.retries += 1

    def leaked(self, pool: object, taker: str) -> None:
        self.leaks.append(taker)


@pytest.fixture
def counted(app: Flask, engine: Engine) -> Count:
    counted = Count()
    app.extensions["pool"].observers.append(counted)
    engine.pool.observers.append(counted)  # type: ignore[attr-defined]
    return counted


@pytest.fixture
def runs() -> list[Any]:
    """What each run of a view noted."""
    return []


def test_a_safe_request_is_run_again_as_a_new_one(
    app: Flask, client: FlaskClient, counted: Count, runs: list[Any]
) -> None:
    app.secret_key = SECRET
    torn_down: list[object] = []
    app.teardown_request(torn_down.append)

    @app.before_request
    def load() -> None:
        session["visits"] = session.get("visits", 0) + 1
        flash("hello")
        assert not hasattr(g, "user")
        g.user = ask()

    @app.get("/<word>")
    def view(word: str) -> dict[str, Any]:
        runs.append(word)
        if len(runs) == 1:
            die()
        number = ask()
        return {"word": word, "n": number, "flashed": get_flashed_messages(), **session}

    answer = client.get("/one?two=3")

    assert answer.json == {"word": "one", "n": 1, "flashed": ["hello"], "visits": 1}
    assert (runs, counted.retries, len(torn_down)) == (["one", "one"], 1, 2)
    assert client.get("/next").json == {"word": "next", "n": 1, "flashed": ["hello"], "visits": 2}


@pytest.mark.parametrize("handled", [OperationalError, DBAPIError, Exception, 500])
def test_an_applications_own_handler_does_not_turn_it_off(
    app: Flask, client: FlaskClient, runs: list[Any], handled: Any
) -> None:
    app.register_error_handler(handled, lambda error: "handled")
    app.testing = False

    @app.get("/")
    def view() -> str:
        runs.append(ask())
        if len(runs) == 1:
            die()
        return str(ask())

    assert client.get("/").text == "1"


def test_a_view_that_catches_the_error_is_run_again_too(
    app: Flask, client: FlaskClient, runs: list[Any]
) -> None:
    @app.get("/")
    def view() -> str:
        runs.append(ask())
        if len(runs) == 1:
            die()
        try:
            return str(ask())
        except DBAPIError:
            return "caught"

    assert client.get("/").text == "1"


def test_it_is_run_once_more_and_no_more(app: Flask, client: FlaskClient, runs: list[Any]) -> None:
    @app.get("/")
    def view() -> str:
        runs.append(ask())
        die()
        return str(ask())

    assert client.get("/").status_code == 503
    assert len(runs) == 2


def in_a_transaction() -> None:
    db.session.add(Item(name="A"))
    db.session.flush()


def with_a_raw_cursor() -> None:
    cursor = db.session.connection().connection.cursor()
    cursor.execute("SELECT 1")
    cursor.fetchall()


@pytest.mark.parametrize("work", [in_a_transaction, with_a_raw_cursor])
def test_a_request_that_did_more_than_read_is_not_run_again(
    app: Flask, client: FlaskClient, runs: list[Any], work: Callable[[], None]
) -> None:
    @app.get("/")
    def view() -> str:
        runs.append(1)
        work()
        if len(runs) == 1:
            die()
        return str(ask())

    # SQLite's driver begins nothing for a SELECT
    only_read = work is with_a_raw_cursor and "sqlite" in app.config["SQLALCHEMY_DATABASE_URI"]
    assert client.get("/").status_code == (200 if only_read else 503)
    assert len(runs) == (2 if only_read else 1)


def test_an_unsafe_request_is_not_run_again(
    app: Flask, client: FlaskClient, runs: list[Any]
) -> None:
    @app.post("/")
    def view() -> str:
        runs.append(ask())
        die()
        return str(ask())

    assert client.post("/").status_code == 503
    assert len(runs) == 1


def test_run_once_turns_it_off_for_a_view(app: Flask, client: FlaskClient, runs: list[Any]) -> None:
    @run_once
    @app.get("/")
    def view() -> str:
        runs.append(ask())
        die()
        return str(ask())

    assert client.get("/").status_code == 503
    assert len(runs) == 1


@pytest.mark.parametrize(("reads", "status", "times"), [(False, 200, 2), (True, 503, 1)])
def test_a_request_whose_body_was_read_is_not_run_again(
    app: Flask, client: FlaskClient, runs: list[Any], reads: bool, status: int, times: int
) -> None:
    @app.get("/")
    def view() -> str:
        runs.append(ask())
        if reads:
            request.get_data()
        if len(runs) == 1:
            die()
        return str(ask())

    assert client.get("/", data=b"body").status_code == status
    assert len(runs) == times


def test_a_stream_is_run_again_before_its_first_byte(
    app: Flask, client: FlaskClient, runs: list[Any]
) -> None:
    closed = []

    @app.get("/")
    def view() -> Any:
        def rows() -> Iterator[str]:
            try:
                runs.append(ask())
                if len(runs) == 1:
                    die()
                yield str(ask())
                yield "2"
            finally:
                closed.append(len(runs))

        return app.response_class(stream_with_context(rows()))

    assert client.get("/", buffered=True).text == "12"
    assert closed == [1, 2]


def test_a_stream_that_has_begun_is_not_run_again(
    app: Flask, client: FlaskClient, runs: list[Any]
) -> None:
    @app.get("/")
    def view() -> Any:
        def rows() -> Iterator[str]:
            runs.append(ask())
            yield "begun"
            die()
            yield str(ask())

        return app.response_class(stream_with_context(rows()))

    with pytest.raises(DBAPIError):
        client.get("/", buffered=True)
    assert len(runs) == 1


# forgotten connections


def leaks(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.getMessage() for record in caplog.records]
    return [message for message in found if message.startswith("connection leak")]


kept: list[Any] = []


def by_hand() -> Any:
    return db.engine.connect()


def raw() -> Any:
    return db.engine.raw_connection()


def in_a_session_of_its_own() -> Any:
    own = Session(db.engine)
    own.execute(select(Item)).all()
    return own


def in_nobodys_variable() -> Any:
    db.engine.connect()
    return None


@pytest.mark.parametrize("take", [by_hand, raw, in_a_session_of_its_own, in_nobodys_variable])
def test_a_forgotten_connection_is_named_and_given_back(
    app: Flask, make_app: Make, caplog: pytest.LogCaptureFixture, take: Callable[[], Any]
) -> None:
    single = make_app(SQLALCHEMY_POOL_SIZE=1, SQLALCHEMY_MAX_OVERFLOW=0)
    engine, counted = single.extensions["pool"].engines["default"], Count()
    engine.pool.observers.append(counted)

    @single.get("/")
    def view() -> str:
        kept.append(take())
        return ""

    with caplog.at_level(logging.WARNING):
        for _ in range(2):  # more often than there are connections
            assert single.test_client().get("/").status_code == 200
    kept.clear()

    assert len(leaks(caplog)) == len(counted.leaks) == 2
    assert f"{__file__}:" in counted.leaks[0]
    assert f"in {take.__name__}" in counted.leaks[0]
    assert engine.pool.checkedout() == 0


def test_a_connection_that_a_stream_uses_is_left_to_it(
    app: Flask, client: FlaskClient, engine: Any, caplog: pytest.LogCaptureFixture
) -> None:
    @app.get("/")
    def view() -> Any:
        connection = db.engine.connect()

        def rows() -> Iterator[str]:
            with connection:
                for number in range(3):
                    yield str(connection.scalar(text("SELECT 1 + :n"), {"n": number}))

        return app.response_class(rows())

    assert client.get("/", buffered=True).text == "123"
    assert leaks(caplog) == []
    assert engine.pool.checkedout() == 0


def test_a_stream_that_forgets_its_connection_is_named_at_its_end(
    app: Flask, client: FlaskClient, engine: Any, caplog: pytest.LogCaptureFixture
) -> None:
    @app.get("/")
    def view() -> Any:
        connection = db.engine.connect()
        kept.append(connection)
        return app.response_class(str(connection.scalar(text("SELECT 1"))) for _ in range(2))

    assert client.get("/", buffered=True).text == "11"
    kept.clear()
    assert len(leaks(caplog)) == 1
    assert engine.pool.checkedout() == 0


@pytest.mark.parametrize("take", [by_hand, in_a_session_of_its_own])
def test_a_connection_for_an_executor_is_left_to_it(
    app: Flask, client: FlaskClient, engine: Any, take: Callable[[], Any]
) -> None:
    done: list[Any] = []

    def work(taken: Any) -> None:
        sleep(0.01)
        taken.execute(text("SELECT 1")).all()
        taken.close()
        done.append(taken)

    with ThreadPoolExecutor(1) as executor:
        executor.submit(int).result()

        @app.get("/")
        def view() -> str:
            executor.submit(work, take())
            return ""

        for number in range(4):  # more often than there are connections
            client.get("/")
            while len(done) == number:
                sleep(0.01)

    assert engine.pool.checkedout() == 0


@pytest.mark.parametrize("how", ["argument", "closure", "object", "queue"])
def test_a_connection_that_another_thread_got_is_left_to_it(
    app: Flask, client: FlaskClient, engine: Any, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    answered, threads = Event(), []

    class Job:
        connection: Any

    def work(connection: Any) -> None:
        answered.wait(30)
        if how == "object":
            connection = connection.connection
        elif how == "queue":
            connection = connection.get()
        connection.execute(Item.__table__.insert().values(name="later"))
        connection.commit()
        connection.close()

    @app.get("/")
    def view() -> str:
        connection: Any = db.engine.connect()
        given: Any = connection
        if how == "object":
            given = Job()
            given.connection = connection
        elif how == "queue":
            given = SimpleQueue()
            given.put(connection)
        target = (lambda: work(connection)) if how == "closure" else work
        threads.append(Thread(target=target, args=() if how == "closure" else (given,)))
        threads[0].start()
        return ""

    client.get("/")
    answered.set()
    threads[0].join(30)

    assert leaks(caplog) == []
    with app.app_context():
        assert db.session.scalars(select(Item.name)).all() == ["later"]
        db.session.remove()
    assert engine.pool.checkedout() == 0
