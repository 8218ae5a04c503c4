"""What the pool promises, on whatever database the tests run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Barrier, Lock
from time import sleep
from typing import Any

import click
import pytest
from click.testing import CliRunner
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event, text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import NullPool

import {{cookiecutter.project_slug}} as service


@pytest.fixture
def engine(app: Flask) -> Engine:
    engine: Engine = app.extensions["pool"].engines["default"]
    return engine


@pytest.fixture
def opened(engine: Engine) -> Iterator[list[Any]]:
    """Every connection that is opened from now on."""
    found: list[Any] = []
    engine.dispose()
    note = lambda connection, record: found.append(connection)  # noqa: E731
    event.listen(engine, "connect", note)
    yield found
    event.remove(engine, "connect", note)


def pool(engine: Engine) -> Any:
    return engine.pool


def use(engine: Engine) -> None:
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT 1")) == 1


def test_connections_are_reused(client: FlaskClient, opened: list[Any]) -> None:
    for _ in range(20):
        assert client.get("/users").status_code == 200

    assert len(opened) == 1


def test_pool_size_connections_are_kept_and_overflow_is_closed(
    engine: Engine, opened: list[Any]
) -> None:
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(engine.connect())
        assert pool(engine).checkedout() == 3

    assert len(opened) == 3
    assert pool(engine).checkedin() == 2


def test_a_request_waits_when_all_are_taken_and_then_fails_cleanly(
    engine: Engine, client: FlaskClient
) -> None:
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(engine.connect())
        refused = client.get("/users")

    assert refused.status_code == 503
    assert refused.mimetype == "application/problem+json"
    assert refused.headers["Retry-After"] == "1"
    assert client.get("/users").status_code == 200


def test_too_many_waiters_are_refused_at_once(engine: Engine) -> None:
    pool(engine).gate.max_waiting = 0

    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(engine.connect())
        with pytest.raises(PoolTimeoutError, match="wait for a connection already"):
            engine.connect()


def test_a_connection_that_comes_back_spares_opening_another(
    engine: Engine, opened: list[Any]
) -> None:
    kept = [engine.connect() for _ in range(2)]
    assert pool(engine).gate.patience > 0
    pool(engine).gate.patience = pool(engine).gate.timeout = 30

    with ThreadPoolExecutor(1) as threads:
        third = threads.submit(engine.connect)
        while not pool(engine).gate.waiting:
            sleep(0.001)
        kept[0].close()
        third.result().close()
    kept[1].close()

    assert len(opened) == 2


def test_a_connection_is_never_used_by_two_threads_at_once(engine: Engine) -> None:
    in_use: set[int] = set()
    lock = Lock()

    def checkout(_: int) -> None:
        with engine.connect() as connection:
            identity = id(connection.connection.dbapi_connection)
            with lock:
                assert identity not in in_use
                in_use.add(identity)
            connection.scalar(text("SELECT 1"))
            with lock:
                in_use.remove(identity)

    pool(engine).gate.timeout = 30
    with ThreadPoolExecutor(12) as threads:
        list(threads.map(checkout, range(300)))

    assert pool(engine).checkedout() == 0
    assert pool(engine).gate.free == 3


def test_waiters_are_served_in_the_order_in_which_they_came(engine: Engine) -> None:
    threads = 9
    counts = [0] * threads
    start = Barrier(threads)
    pool(engine).gate.timeout = 30

    def loop(number: int) -> None:
        start.wait()
        while sum(counts) < 40 * threads:
            with engine.connect():
                sleep(0.001)
            counts[number] += 1

    with ThreadPoolExecutor(threads) as executor:
        list(executor.map(loop, range(threads)))

    assert max(counts) <= 1.5 * min(counts)


def test_a_failed_connect_lets_the_next_waiter_try(engine: Engine) -> None:
    engine.dispose()
    pool(engine).gate.timeout = 30
    start = Barrier(6)

    def refuse(connection: Any, record: Any) -> None:
        sleep(0.01)  # so that the others wait by then
        connection.close()  # SQLAlchemy 2.0 leaves that to the listener
        raise ConnectionError

    def attempt(_: int) -> str:
        start.wait()
        try:
            use(engine)
        except ConnectionError:
            return "failed"
        return "served"

    event.listen(engine, "connect", refuse)
    with ThreadPoolExecutor(6) as threads:
        outcomes = list(threads.map(attempt, range(6)))
    event.remove(engine, "connect", refuse)

    assert outcomes == ["failed"] * 6
    assert pool(engine).gate.free == 3
    use(engine)


def invalidate(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.invalidate()


def detach(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.detach()


def fail(engine: Engine) -> None:
    with pytest.raises(ZeroDivisionError), engine.connect():
        raise ZeroDivisionError


def forget(engine: Engine) -> None:
    engine.connect()


def dispose(engine: Engine) -> None:
    with engine.connect():
        engine.dispose()


@pytest.mark.parametrize("ending", [use, invalidate, detach, fail, forget, dispose])
def test_a_slot_comes_back_however_a_checkout_ends(
    engine: Engine, ending: Callable[[Engine], None]
) -> None:
    for _ in range(7):  # more often than there are slots
        ending(engine)

    assert pool(engine).gate.free == 3
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(engine.connect())
        with pytest.raises(PoolTimeoutError):
            engine.connect()


def test_a_connection_past_its_time_is_replaced(engine: Engine, opened: list[Any]) -> None:
    pool(engine).recycle = 0.1  # SQLALCHEMY_POOL_RECYCLE is 1 at least
    use(engine)
    use(engine)
    assert len(opened) == 1
    sleep(0.1)
    use(engine)

    assert len(opened) == 2


def test_an_idle_connection_that_died_is_replaced_unseen(engine: Engine, opened: list[Any]) -> None:
    pool(engine).ping_after = 0
    use(engine)
    opened[0].close()

    use(engine)

    assert len(opened) == 2


def test_connections_go_back_after_success_and_after_an_exception(
    app: Flask, engine: Engine
) -> None:
    @app.get("/fails")
    def fails() -> str:
        service.db.db.session.execute(text("SELECT 1"))
        raise ZeroDivisionError

    app.testing = False
    client = app.test_client()

    for _ in range(5):
        assert client.get("/users").status_code == 200
        assert client.get("/fails").status_code == 500
        assert pool(engine).checkedout() == 0


def test_a_failed_commit_leaves_a_clean_session(app: Flask, engine: Engine) -> None:
    @app.post("/twice")
    def twice() -> str:
        user = service.models.User(id=1, name="One")
        service.db.db.session.add(user)
        service.db.db.session.commit()
        service.db.db.session.expunge(user)
        service.db.db.session.add(service.models.User(id=1, name="Again"))
        service.db.db.session.commit()
        return "not reached"

    app.testing = False
    client = app.test_client()

    refused = client.post("/twice")

    assert refused.status_code == 500
    assert "user" not in refused.text
    assert pool(engine).checkedout() == 0
    assert client.get("/users").text == "One"


def test_a_forgotten_connection_is_named_and_given_back(
    app: Flask, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    kept = []

    @app.get("/forgets")
    def forgets() -> str:
        kept.append(engine.connect())
        engine.raw_connection()
        kept.append(service.pool.transactions.reading(engine))
        return "done"

    client = app.test_client()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert client.get("/forgets").status_code == 200

    leaks = [record.getMessage() for record in caplog.records]
    assert len(leaks) == 9
    assert all(f"{__file__}:" in leak and "in forgets" in leak for leak in leaks)
    assert pool(engine).checkedout() == 0


def test_in_memory_sqlite_keeps_one_connection(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        app = service.create_app({"TESTING": True, "SQLALCHEMY_DATABASE_URI": "sqlite://"})
    with app.app_context():
        service.db.db.create_all()
    client = app.test_client()

    with ThreadPoolExecutor(8) as threads:
        answers = list(
            threads.map(lambda n: client.post("/users", json={"name": str(n)}), range(40))
        )

    assert {answer.status_code for answer in answers} == {201}
    assert len(client.get("/users").text.split(",")) == 40
    assert "do not apply" in caplog.text
    app.extensions["pool"].engines["default"].dispose()


def test_binds_get_the_same_pool(app: Flask, migrated: str) -> None:
    other = service.create_app(
        {
            "TESTING": True,
            "SQLALCHEMY_DATABASE_URI": migrated,
            "SQLALCHEMY_BINDS": {"other": migrated},
            "SQLALCHEMY_POOL_SIZE": 1,
            "SQLALCHEMY_MAX_OVERFLOW": 0,
            "SQLALCHEMY_POOL_TIMEOUT": 0.05,
        }
    )
    engine = other.extensions["pool"].engines["other"]

    with engine.connect(), pytest.raises(PoolTimeoutError):
        engine.connect()
    engine.dispose()
    # the extension keeps a bind's metadata for all applications
    service.db.db.metadatas.pop("other")


def test_a_command_opens_no_pool(tmp_path: Path) -> None:
    @click.command()
    def command() -> None:
        url = f"sqlite:///{tmp_path / 'own.db'}"
        app = service.create_app({"TESTING": True, "SQLALCHEMY_DATABASE_URI": url})
        click.echo(type(app.extensions["pool"].engines["default"].pool).__name__)

    assert CliRunner().invoke(command).output.strip() == NullPool.__name__


def test_sqlite_checks_foreign_keys_and_lets_readers_read_while_one_writes(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'own.db'}"
    app = service.create_app({"TESTING": True, "SQLALCHEMY_DATABASE_URI": url})
    engine = app.extensions["pool"].engines["default"]

    with engine.connect() as connection:
        assert connection.scalar(text("PRAGMA foreign_keys")) == 1
        assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
    engine.dispose()
