"""Connections that a request took and never gave back: named, and reclaimed only when needed."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread
from time import sleep
from typing import Any

import pytest
from flask import Flask
from flask_pool.errors import ConnectionReclaimed
from servers import wait_until
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from .conftest import LONG, ONE, Item, Make, Seen, answer, ask, db, engine_of, on, run, stored

kept: list[Any] = []


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """Let go of what a view kept."""
    yield
    for each in kept:
        each.invalidate()
    kept.clear()
    gc.collect()


@pytest.fixture
def scarce(make_app: Make, tables: None) -> Flask:
    """An application with one connection, whose leaks are reclaimed soon."""
    return make_app(
        **ONE,
        SQLALCHEMY_POOL_TIMEOUT=LONG,
        # on MariaDB and SQLite a connection may be busy for as long
        SQLALCHEMY_STATEMENT_TIMEOUT=0.5,
        POOL_LEAK_AFTER=0.1,
    )


def leaks(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [message for message in caplog.messages if message.startswith("connection leak")]


def take() -> None:
    connection = db.engine.connect()
    connection.execute(text("SELECT 1"))
    kept.append(connection)


def take_raw() -> None:
    kept.append(db.engine.raw_connection())


def take_with_a_session() -> None:
    session = Session(db.engine)
    session.execute(select(Item)).all()
    kept.append(session)


@pytest.mark.parametrize("taking", [take, take_raw, take_with_a_session])
def test_a_leak_is_logged_with_the_line_that_took_it(
    app: Flask, caplog: pytest.LogCaptureFixture, taking: Callable[[], None]
) -> None:
    seen = Seen(app)

    answer(app, taking).close()

    (line,) = leaks(caplog)
    assert f"{__file__}:" in line
    assert f"in {taking.__name__}" in line
    assert len(seen.leaks) == 1
    assert engine_of(app).pool.checkedout() == 1  # it is not taken away


def test_a_leak_is_reclaimed_when_another_request_waits(
    scarce: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    seen = Seen(scarce)
    answer(scarce, take).close()

    assert answer(scarce, ask).text == "1"

    wait_until(lambda: seen.replacements == ["leaked"])  # told once the connection is closed
    assert "leaked connection reclaimed" in caplog.text
    with pytest.raises(ConnectionReclaimed, match=r"taken at .*test_leaks\.py:\d+ in take"):
        kept[0].execute(text("SELECT 1"))
    kept.pop().close()
    assert engine_of(scarce).pool.checkedout() == 0
    assert answer(scarce, ask).text == "1"


def test_a_reclaimed_connection_is_never_handed_on(scarce: Flask) -> None:
    answer(scarce, take).close()
    driver = kept[0].connection.driver_connection

    def view() -> object:
        db.session.execute(text("SELECT 1"))
        return db.session.connection().connection.driver_connection is driver

    assert run(scarce, view) is False
    kept.pop().invalidate()


@on("postgresql")
def test_a_leak_is_left_alone_while_nobody_waits(make_app: Make) -> None:
    app = make_app(POOL_LEAK_AFTER=0.05)
    answer(app, take).close()
    for _ in range(3):
        assert answer(app, ask).text == "1"
        sleep(0.5)

    assert kept[0].scalar(text("SELECT 1")) == 1
    kept.pop().close()


@on("postgresql")
def test_a_leak_stays_out_for_as_long_as_the_setting_says(make_app: Make) -> None:
    app = make_app(**ONE, SQLALCHEMY_POOL_TIMEOUT=1.5, POOL_LEAK_AFTER=86400)
    answer(app, take).close()

    assert answer(app, ask).status_code == 503
    assert kept[0].scalar(text("SELECT 1")) == 1
    kept.pop().close()


@on("postgresql")
def test_a_leak_that_is_used_is_left_alone(make_app: Make) -> None:
    """A job goes on with the connection of the request that began it."""
    app = make_app(**ONE, SQLALCHEMY_POOL_TIMEOUT=1.5, POOL_LEAK_AFTER=1.0)
    answer(app, take).close()
    done = Event()

    def work() -> None:
        while not done.wait(0.05):
            kept[0].scalar(text("SELECT 1"))

    job = Thread(target=work)
    job.start()
    refused = answer(app, ask)
    done.set()
    job.join()

    assert refused.status_code == 503
    assert kept[0].scalar(text("SELECT 1")) == 1
    kept.pop().close()


@on("postgresql")
def test_a_leak_with_a_statement_that_runs_is_left_alone(make_app: Make) -> None:
    app = make_app(**ONE, SQLALCHEMY_POOL_TIMEOUT=1.5, POOL_LEAK_AFTER=0.1)
    answer(app, take).close()
    job = Thread(target=lambda: kept[0].scalar(text("SELECT pg_sleep(2.5)")))
    job.start()
    driver = kept[0].connection.driver_connection
    wait_until(lambda: driver.info.transaction_status.name == "ACTIVE", LONG)

    assert answer(app, ask).status_code == 503

    job.join()
    assert kept[0].scalar(text("SELECT 1")) == 1
    kept.pop().close()


def test_a_raw_connection_is_only_logged(
    make_app: Make, tables: None, caplog: pytest.LogCaptureFixture
) -> None:
    limits = {"SQLALCHEMY_POOL_TIMEOUT": 1.3, "SQLALCHEMY_STATEMENT_TIMEOUT": 0.1}
    app = make_app(**ONE, **limits, POOL_LEAK_AFTER=0.1)
    answer(app, take_raw).close()

    assert answer(app, ask).status_code == 503
    assert len(leaks(caplog)) == 1
    kept[0].cursor().execute("SELECT 1")
    kept.pop().close()


def test_the_place_of_what_nobody_holds_comes_back(scarce: Flask) -> None:
    def view() -> None:
        db.engine.connect()

    for _ in range(3):
        answer(scarce, view).close()
        gc.collect()

    assert engine_of(scarce).pool.checkedout() == 0


def test_a_connection_that_a_stream_uses_is_left_to_it(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    def view() -> Any:
        connection = db.engine.connect()

        def rows() -> Iterator[str]:
            with connection:
                for number in range(3):
                    yield str(connection.scalar(text("SELECT 1 + :n"), {"n": number}))

        return app.response_class(rows())

    response = answer(app, view)
    assert response.text == "123"
    response.close()

    assert leaks(caplog) == []
    assert engine_of(app).pool.checkedout() == 0


def test_a_stream_that_forgets_its_connection_is_named_at_its_end(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    def view() -> Any:
        take()
        return app.response_class(str(kept[0].scalar(text("SELECT 1"))) for _ in range(2))

    response = answer(app, view)
    assert response.text == "11"
    response.close()

    assert len(leaks(caplog)) == 1


def test_a_request_that_fails_is_told_of_too(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    app.testing = False

    def view() -> None:
        take()
        raise ZeroDivisionError

    answer(app, view).close()

    assert len(leaks(caplog)) == 1


def test_a_callback_of_the_response_may_give_it_back(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    """Situation 11."""

    def view() -> Any:
        connection = db.engine.connect()
        response = app.response_class("")

        def work() -> None:
            connection.execute(Item.__table__.insert().values(name="later"))
            connection.commit()
            connection.close()

        response.call_on_close(work)
        return response

    answer(app, view).close()

    assert leaks(caplog) == []
    assert stored(app) == ["later"]


def test_a_connection_for_an_executor_is_left_to_it(app: Flask) -> None:
    def work(connection: Any) -> None:
        sleep(0.01)
        connection.execute(Item.__table__.insert().values(name="A"))
        connection.commit()
        connection.close()

    with ThreadPoolExecutor(1) as executor:
        jobs = []

        def view() -> None:
            jobs.append(executor.submit(work, db.engine.connect()))

        for _ in range(4):  # more often than there are connections
            answer(app, view).close()
            jobs[-1].result(LONG)

    assert stored(app) == ["A"] * 4
    assert engine_of(app).pool.checkedout() == 0


@on("postgresql")
def test_a_module_may_keep_a_connection_for_its_lock(scarce: Flask) -> None:
    """Situation 10: while connections suffice it works on."""

    def lock() -> None:
        connection = db.engine.connect()
        connection.execute(text("SELECT pg_advisory_lock(77)"))
        connection.commit()
        kept.append(connection)

    answer(scarce, lock).close()
    sleep(1)

    assert kept[0].scalar(text("SELECT pg_advisory_unlock(77)")) is True
    kept.pop().close()


def test_a_detached_connection_is_the_applications(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    def view() -> None:
        connection = db.engine.connect()
        connection.detach()
        kept.append(connection)

    answer(app, view).close()

    assert leaks(caplog) == []
    kept.pop().close()


def test_a_session_of_the_request_is_no_leak(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    for method in ("GET", "POST"):
        answer(app, ask, method).close()

    assert leaks(caplog) == []
    assert engine_of(app).pool.checkedout() == 0
