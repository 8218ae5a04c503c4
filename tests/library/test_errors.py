"""Which failures are answered with 503, and which are a program's own."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError, DBAPIError, IntegrityError, SQLAlchemyError

from flask_pool.errors import REASONS, reason_of
from flask_pool.observer import Observer

from .conftest import Item, Make, db


class Reasons(Observer):
    """Notes why requests were not served."""

    def __init__(self, app: Flask) -> None:
        self.given: list[str] = []
        app.extensions["pool"].observers.append(self)

    def unavailable(self, reason: str) -> None:
        self.given.append(reason)


def test_an_exhausted_pool_is_503_and_then_all_is_well(make_app: Make) -> None:
    app = make_app(SQLALCHEMY_POOL_TIMEOUT=0.01)
    app.add_url_rule("/", view_func=lambda: str(db.session.scalar(text("SELECT 1"))))
    engine, reasons = app.extensions["pool"].engines["default"], Reasons(app)

    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(engine.connect())
        refused = app.test_client().get("/")

    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
    assert REASONS["exhausted"] in refused.text
    assert reasons.given == ["exhausted"]
    assert app.test_client().get("/").text == "1"


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:////nowhere/to/be/found.db",
        "postgresql://nobody:secret@127.0.0.1:1/none",
        "mysql://nobody:secret@127.0.0.1:1/none",
    ],
)
def test_a_database_that_is_away_is_503_and_tells_nothing(
    make_app: Make, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(SQLALCHEMY_DATABASE_URI=url)
    app.add_url_rule("/", view_func=lambda: str(db.session.scalar(text("SELECT 1"))))
    reasons = Reasons(app)

    with caplog.at_level(logging.WARNING):
        refused = app.test_client().get("/")

    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
    assert reasons.given == ["unavailable"]
    assert "127.0.0.1" not in refused.text
    assert "503 unavailable: OperationalError" in caplog.text
    assert "secret" not in refused.text + caplog.text


@pytest.mark.parametrize(
    "statement", ["SELEC 1", "SELECT * FROM nowhere", "SELECT nothing FROM pool_items"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_mistake_in_sql_is_500_with_its_traceback(
    app: Flask, client: FlaskClient, caplog: pytest.LogCaptureFixture, statement: str, method: str
) -> None:
    app.testing = False
    app.add_url_rule(
        "/", view_func=lambda: str(db.session.execute(text(statement))), methods=["GET", "POST"]
    )
    with caplog.at_level(logging.ERROR):
        answer = client.open("/", method=method)

    assert (answer.status_code, "Retry-After" in answer.headers) == (500, False)
    (record,) = [each for each in caplog.records if each.exc_info]
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], DatabaseError)


HANDLED: list[Any] = [IntegrityError, DBAPIError, SQLAlchemyError, Exception, 500]


@pytest.mark.parametrize("handled", HANDLED)
def test_an_applications_own_handler_gets_what_is_its_own(
    app: Flask, client: FlaskClient, handled: Any
) -> None:
    app.testing = False
    app.register_error_handler(handled, lambda error: (type(error).__name__, 418))

    @app.post("/")
    def twice() -> str:
        db.session.add_all([Item(id=1, name="A"), Item(id=1, name="B")])
        db.session.flush()
        return ""

    @app.get("/")
    def integrity() -> str:
        for _ in range(2):
            db.session.execute(text("INSERT INTO pool_items (id, name) VALUES (1, 'A')"))
        return ""

    answer = client.get("/")
    assert answer.status_code == 418
    assert answer.text == ("InternalServerError" if handled == 500 else "IntegrityError")


def test_after_a_failure_the_next_request_finds_a_clean_session(
    app: Flask, client: FlaskClient, engine: Any
) -> None:
    app.testing = False

    @app.post("/")
    def fails() -> str:
        db.session.add(Item(id=1, name="A"))
        db.session.flush()
        db.session.execute(text("INSERT INTO pool_items (id, name) VALUES (1, 'A')"))
        db.session.commit()
        return ""

    @app.get("/")
    def count() -> str:
        return str(db.session.query(Item).count())

    assert client.post("/").status_code == 500
    assert client.get("/").text == "0"
    assert engine.pool.checkedout() == 0


def error(state: str) -> Any:
    made: Any = Exception()
    made.sqlstate = state
    return made


def numbered(number: int) -> Any:
    return Exception(number, "said")


@pytest.mark.parametrize(
    ("orig", "reason"),
    [
        (error("40001"), "conflict"),
        (error("40P01"), "conflict"),
        (error("55P03"), "conflict"),
        (error("57014"), "timeout"),
        (error("53300"), "unavailable"),
        (error("57P01"), "unavailable"),
        (error("08006"), "unavailable"),
        (error("42601"), None),
        (error("22012"), None),
        (numbered(1213), "conflict"),
        (numbered(1205), "conflict"),
        (numbered(1969), "timeout"),
        (numbered(3024), "timeout"),
        (numbered(1047), "unavailable"),
        (numbered(1180), "in_doubt"),
        (numbered(1064), None),
    ],
)
def test_a_servers_code_tells_why(orig: Any, reason: str | None) -> None:
    assert reason_of(DBAPIError("SELECT", {}, orig)) == reason


def test_a_locked_row_is_a_conflict(make_app: Make, app: Flask, client: FlaskClient) -> None:
    reasons = Reasons(app)
    engine = app.extensions["pool"].engines["default"]
    if engine.dialect.name == "sqlite":
        app = make_app(SQLALCHEMY_POOL_TIMEOUT=0.05)  # the busy timeout too
        client, reasons = app.test_client(), Reasons(app)
    limits: dict[str, Callable[[], object]] = {
        "postgresql": lambda: db.session.execute(text("SET LOCAL lock_timeout = 50")),
        "mysql": lambda: db.session.execute(text("SET SESSION innodb_lock_wait_timeout = 1")),
    }
    with app.app_context():
        db.session.add(Item(id=1, name="A"))
        db.session.commit()
    update = text("UPDATE pool_items SET name = 'B' WHERE id = 1")

    @app.post("/")
    def change() -> str:
        limits.get(engine.dialect.name, int)()
        db.session.execute(update)
        return ""

    with engine.begin() as connection:
        connection.execute(update)
        answer = client.post("/")

    assert (answer.status_code, reasons.given) == (503, ["conflict"])
