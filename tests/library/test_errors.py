"""Which failures are answered with 503, and which are a program's own."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest
from flask import Flask, got_request_exception
from flask_pool import errors
from flask_pool.errors import REASONS, ConnectionReclaimed, reason_of
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from werkzeug.exceptions import HTTPException

from .conftest import LONG, Database, Item, Make, Seen, answer, ask, db, engine_of, on, run, store

METHODS = pytest.mark.parametrize("method", ["GET", "POST"])


def exhausted(app: Flask, view: Callable[[], object] = ask, method: str = "GET") -> Any:
    """Have an application answer while every connection is in use."""
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(engine_of(app).connect())
        return answer(app, view, method)


@METHODS
def test_an_exhausted_pool_is_503_and_then_all_is_well(make_app: Make, method: str) -> None:
    app = make_app(SQLALCHEMY_POOL_TIMEOUT=0.01)
    seen = Seen(app)

    refused = exhausted(app, method=method)

    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
    assert REASONS["exhausted"] in refused.text
    assert seen.reasons == []  # counted where it is raised: by the pool
    assert answer(app, ask).text == "1"


def test_too_many_waiters_are_503_at_once(make_app: Make) -> None:
    app = make_app(SQLALCHEMY_POOL_TIMEOUT=LONG, SQLALCHEMY_MAX_WAITING=0)

    refused = exhausted(app)

    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
    assert answer(app, ask).text == "1"


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:////nowhere/to/be/found.db",
        "postgresql+psycopg://nobody:secret@127.0.0.1:1/none",
        "mysql+pymysql://nobody:secret@127.0.0.1:1/none",
    ],
)
@on("sqlite")
def test_a_database_that_is_away_is_503_and_tells_nothing(
    make_app: Make, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(url)
    seen = Seen(app)

    with caplog.at_level(logging.WARNING):
        refused = answer(app, ask)

    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
    assert seen.reasons == ["unavailable"]
    assert "127.0.0.1" not in refused.text
    assert "503 unavailable: OperationalError" in caplog.text
    assert "secret" not in refused.text + caplog.text


@pytest.mark.parametrize(
    "statement", ["SELEC 1", "SELECT * FROM nowhere", "SELECT nothing FROM pool_items"]
)
@METHODS
def test_a_mistake_in_sql_is_500_with_its_traceback(
    app: Flask, caplog: pytest.LogCaptureFixture, statement: str, method: str
) -> None:
    app.testing = False
    with caplog.at_level(logging.ERROR):
        response = answer(app, lambda: db.session.execute(text(statement)), method)

    assert (response.status_code, "Retry-After" in response.headers) == (500, False)
    (record,) = [each for each in caplog.records if each.exc_info]
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], DatabaseError)


HANDLED: list[Any] = [IntegrityError, DBAPIError, SQLAlchemyError, Exception, 500]


def twice() -> None:
    for _ in range(2):
        db.session.execute(text("INSERT INTO pool_items (id, name) VALUES (1, 'A')"))


@pytest.mark.parametrize("handled", HANDLED)
def test_an_applications_own_handler_gets_what_is_its_own(app: Flask, handled: Any) -> None:
    app.testing = False
    app.register_error_handler(handled, lambda error: (type(error).__name__, 418))

    response = answer(app, twice)

    assert response.status_code == 418
    assert response.text == ("InternalServerError" if handled == 500 else "IntegrityError")


@on("sqlite")
@pytest.mark.parametrize("handled", [503, HTTPException])
def test_an_applications_own_503_page_is_shown(make_app: Make, handled: Any) -> None:
    app = make_app(SQLALCHEMY_POOL_TIMEOUT=0.01)
    app.register_error_handler(handled, lambda error: (f"mine: {error.code}", 503))

    assert exhausted(app).text == "mine: 503"


@on("sqlite")
@pytest.mark.parametrize("handled", [PoolTimeoutError, errors.TimeoutError])
def test_an_applications_own_handler_of_a_full_pool_is_asked(make_app: Make, handled: Any) -> None:
    app = make_app(SQLALCHEMY_POOL_TIMEOUT=0.01)
    app.register_error_handler(handled, lambda error: (type(error).__name__, 429))

    refused = exhausted(app)

    assert (refused.status_code, refused.text) == (429, "TimeoutError")


def test_after_a_failure_the_next_request_finds_a_clean_session(app: Flask, engine: Any) -> None:
    app.testing = False

    assert answer(app, twice, "POST").status_code == 500
    assert run(app, lambda: db.session.query(Item).count()) == 0
    assert engine.pool.checkedout() == 0


def test_error_trackers_see_what_they_saw_before(make_app: Make) -> None:
    """Situation 22: each failure sends Flask's signal, once."""
    app = make_app(SQLALCHEMY_POOL_TIMEOUT=0.01)
    app.testing = False
    sent: list[Any] = []

    def note(sender: Flask, exception: BaseException, **_: Any) -> None:
        sent.append(type(exception).__name__)

    got_request_exception.connect(note, app)
    exhausted(app)
    answer(app, lambda: db.session.execute(text("SELEC 1")))

    assert sent[0] == "TimeoutError"
    assert len(sent) == 2


@pytest.mark.parametrize("kind", [errors.TimeoutError, errors.TooManyWaiting])
def test_the_pools_own_errors_are_sqlalchemys_and_werkzeugs(
    kind: type[errors.TimeoutError],
) -> None:
    error = kind("no connection")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301

    for each in (error, again):
        assert isinstance(each, PoolTimeoutError)
        assert isinstance(each, HTTPException)
        assert (each.code, str(each), type(each)) == (503, "no connection", kind)
        assert each.get_response().headers["Retry-After"] == "1"
        assert "no connection" not in each.get_response().get_data(as_text=True)


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
        (numbered(1020), "conflict"),
        (numbered(1969), "timeout"),
        (numbered(3024), "timeout"),
        (numbered(1040), "unavailable"),
        (numbered(1047), "unavailable"),
        (numbered(1180), "in_doubt"),
        (numbered(1064), None),
        (numbered(1062), None),
    ],
)
def test_a_servers_code_tells_why(orig: Any, reason: str | None) -> None:
    assert reason_of(DBAPIError("SELECT", {}, orig)) == reason


def test_what_is_no_failure_of_the_database_has_no_reason() -> None:
    assert reason_of(ValueError()) is None
    assert reason_of(ConnectionReclaimed("taken back")) is None
    assert reason_of(PoolTimeoutError()) == "exhausted"


def test_a_locked_row_is_a_conflict(make_app: Make, tables: None, database: Database) -> None:
    app = make_app()
    if database.kind == "sqlite":
        app = make_app(SQLALCHEMY_ENGINE_OPTIONS={"connect_args": {"timeout": 0.05}})
    store(app, "A")
    seen = Seen(app)
    limits: dict[str, Callable[[], object]] = {
        "postgresql": lambda: db.session.execute(text("SET LOCAL lock_timeout = 50")),
        "mariadb": lambda: db.session.execute(text("SET SESSION innodb_lock_wait_timeout = 1")),
    }
    update = text("UPDATE pool_items SET name = 'B'")

    def change() -> None:
        limits.get(database.kind, int)()
        db.session.execute(update)

    with engine_of(app).begin() as connection:
        connection.execute(update)
        response = answer(app, change, "POST")

    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    assert seen.reasons == ["conflict"]


@on("postgresql")
def test_a_serialization_failure_is_a_conflict(make_app: Make, tables: None) -> None:
    app = make_app(SQLALCHEMY_ENGINE_OPTIONS={"isolation_level": "REPEATABLE READ"})
    store(app, "A")
    seen = Seen(app)

    def change() -> None:
        ask()
        db.session.execute(text("SELECT name FROM pool_items")).all()
        with engine_of(app).begin() as other:
            other.execute(text("UPDATE pool_items SET name = 'B'"))
        db.session.execute(text("UPDATE pool_items SET name = 'C'"))

    assert answer(app, change, "POST").status_code == 503
    assert seen.reasons == ["conflict"]


@on("postgresql", "mariadb")
def test_too_many_connections_are_unavailable(
    make_app: Make, database: Database, tables: None
) -> None:
    app = make_app()
    user = "few_" + database.name[-6:]
    password = "only-for-these-tests"
    if database.kind == "postgresql":
        database.rows(f"CREATE ROLE {user} LOGIN CONNECTION LIMIT 1 PASSWORD '{password}'")
    else:
        database.rows(
            f"CREATE USER {user}@127.0.0.1 IDENTIFIED BY '{password}' WITH MAX_USER_CONNECTIONS 1"
        )
        database.rows(f"GRANT ALL ON {database.name}.* TO {user}@127.0.0.1")
    url = engine_of(app).url.set(username=user, password=password)
    few = make_app(url.render_as_string(hide_password=False))
    seen = Seen(few)

    with engine_of(few).connect():
        response = answer(few, ask)

    assert (response.status_code, seen.reasons) == (503, ["unavailable"])
    assert answer(few, ask).text == "1"


@on("postgresql")
def test_an_error_beyond_a_request_is_as_ever(app: Flask) -> None:
    with app.app_context(), pytest.raises(DBAPIError) as caught:
        db.session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    assert isinstance(caught.value.orig, psycopg.errors.AdminShutdown)
    with app.app_context():
        db.session.remove()
        assert ask() == "1"
        db.session.remove()


@on("sqlite")
def test_lines_of_one_reason_are_one_a_second(
    make_app: Make, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app("sqlite:////nowhere/to/be/found.db")
    for _ in range(5):
        answer(app, ask)

    lines = [each for each in caplog.messages if each.startswith("503 unavailable")]
    assert 1 <= len(lines) < 5
