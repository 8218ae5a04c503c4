"""Time limits: of statements, of a silent network, of a frozen server; and who holds long."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from time import monotonic, sleep
from typing import Any

import pytest
from flask import Flask
from servers import can_silence, paced, wait_until
from sqlalchemy import event, text

from .conftest import LONG, Database, Make, OpenProxy, Seen, answer, ask, db, engine_of, on, run

BOTH = on("postgresql", "mariadb")
LIMITS = {"SQLALCHEMY_STATEMENT_TIMEOUT": 0.5, "SQLALCHEMY_CONNECT_TIMEOUT": 1.0}
SOON = 0.5 + 1.0 + 1.5  # seconds: the statement's limit, the connect limit, and the watcher's pace


def pause(seconds: float) -> str:
    function = "pg_sleep" if db.engine.dialect.name == "postgresql" else "SLEEP"
    return f"SELECT {function}({seconds})"


def elapsed(work: Callable[[], object]) -> float:
    started = monotonic()
    work()
    return monotonic() - started


@BOTH
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_statement_is_ended_at_its_limit_by_the_server(make_app: Make, method: str) -> None:
    app = make_app(SQLALCHEMY_STATEMENT_TIMEOUT=0.2)
    seen = Seen(app)

    response = answer(app, lambda: db.session.execute(text(pause(LONG))), method)

    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    assert seen.reasons == ["timeout"]
    assert answer(app, ask).text == "1"


@on("postgresql")
@pytest.mark.parametrize("how", ["SET LOCAL", "SET"])
def test_postgresql_raises_the_limit_as_it_documents(make_app: Make, how: str) -> None:
    """Situation 15, longer than the statement's and the connect limit together."""
    app = make_app(**LIMITS)

    def view() -> None:
        db.session.execute(text(f"{how} statement_timeout = '20s'"))
        db.session.execute(text(pause(2.2)))

    run(app, view)


@on("mariadb")
@pytest.mark.parametrize("how", ["SET STATEMENT", "SET SESSION"])
def test_mariadb_raises_the_limit_as_it_documents(make_app: Make, how: str) -> None:
    app = make_app(**LIMITS)

    def view() -> None:
        if how == "SET SESSION":
            db.session.execute(text("SET SESSION max_statement_time = 20"))
            db.session.execute(text(pause(2.2)))
        else:
            db.session.execute(text(f"SET STATEMENT max_statement_time = 20 FOR {pause(2.2)}"))

    run(app, view)


@on("postgresql")
def test_a_copy_that_takes_longer_is_left_alone(make_app: Make, tables: None) -> None:
    """A COPY whose client is slow: the server waits for the client."""
    app = make_app(**LIMITS | {"SQLALCHEMY_STATEMENT_TIMEOUT": 10.0})
    engine_of(app).pool  # noqa: B018
    watched(app, 0.3)
    with app.app_context():
        raw = db.engine.raw_connection()
        with raw.cursor() as cursor, cursor.copy("COPY pool_items (name) FROM STDIN") as copy:  # type: ignore[attr-defined]
            for _ in range(3):
                copy.write_row(["A"])
                sleep(0.8)
        raw.rollback()
        raw.close()


def watched(app: Flask, seconds: float) -> None:
    """Have the watcher take statements for limited to this, while the server does not."""
    app.extensions["pool"].settings["SQLALCHEMY_STATEMENT_TIMEOUT"] = seconds


silent = pytest.mark.skipif(not can_silence(), reason="needs root: a socket filter")


@silent
@BOTH
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_silent_network_is_given_up(
    make_app: Make, database: Database, proxy: OpenProxy, method: str
) -> None:
    between = proxy(database.server.port)
    app = make_app(database.url(between.port), **LIMITS)
    run(app, ask)
    seen = Seen(app)

    def view() -> str:
        ask()
        between.silence()
        return ask()

    started = monotonic()
    response = answer(app, view, method)
    spent = monotonic() - started
    between.speak()

    assert response.status_code == 503
    assert seen.reasons == ["unavailable"]
    # a read is tried once more, which has to connect
    assert spent < 2 * SOON + paced(2)
    wait_until(lambda: answer(app, ask).text == "1", LONG)


@silent
@BOTH
def test_connecting_into_a_silent_network_is_given_up(
    make_app: Make, database: Database, proxy: OpenProxy
) -> None:
    between = proxy(database.server.port)
    app = make_app(database.url(between.port), **LIMITS)
    between.silence()

    # libpq's shortest limit is two seconds
    assert elapsed(lambda: answer(app, ask)) < 2 + paced(1.5)
    assert answer(app, ask).status_code == 503


@BOTH
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_wait_for_a_frozen_server_ends(make_app: Make, database: Database, method: str) -> None:
    app = make_app(**LIMITS)
    run(app, ask)
    seen = Seen(app)
    spent: list[float] = []

    def view() -> None:
        ask()
        database.server.pause()
        started = monotonic()
        try:
            db.session.execute(text("SELECT now()")).all()
        finally:
            spent.append(monotonic() - started)
            database.server.resume()

    try:
        response = answer(app, view, method)
    finally:
        database.server.resume()

    assert response.status_code == 503
    assert seen.reasons == ["unavailable"]
    assert spent[0] < SOON + paced(1)
    wait_until(lambda: answer(app, ask).text == "1", LONG)


@BOTH
def test_a_ping_of_a_frozen_server_ends(make_app: Make, database: Database) -> None:
    app = make_app(SQLALCHEMY_POOL_PING_AFTER=0, **LIMITS)
    run(app, ask)

    with database.server.paused():
        spent = elapsed(lambda: answer(app, ask))

    # the ping, and the connect that takes its place, for which libpq takes two seconds
    assert spent < SOON + 2 + paced(1)
    wait_until(lambda: answer(app, ask).text == "1", LONG)


@BOTH
def test_connecting_to_a_frozen_server_ends(make_app: Make, database: Database) -> None:
    app = make_app(**LIMITS)

    with database.server.paused():
        spent = elapsed(lambda: answer(app, ask))

    assert spent < 2 + paced(1.5)
    wait_until(lambda: answer(app, ask).text == "1", LONG)


@BOTH
def test_the_error_says_what_happened(
    make_app: Make, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(**LIMITS)
    run(app, ask)

    def view() -> None:
        db.session.connection()
        with database.server.paused():
            ask()

    answer(app, view, "POST")

    assert "did not answer within 1 s: the connection was shut down" in caplog.text
    assert any("shut down" in line for line in caplog.messages if line.startswith("503"))


@BOTH
def test_the_limits_are_on_the_connection(make_app: Make, database: Database) -> None:
    app = make_app(SQLALCHEMY_STATEMENT_TIMEOUT=7.5, SQLALCHEMY_CONNECT_TIMEOUT=3.0)
    show = {"postgresql": "SHOW statement_timeout", "mariadb": "SELECT @@max_statement_time"}

    found = run(app, lambda: str(db.session.scalar(text(show[database.kind]))))

    assert found in ("7500ms", "7.5")


@BOTH
def test_options_of_the_application_stay_and_win(make_app: Make, database: Database) -> None:
    """Situation 16: both its own and the pool's hold."""
    arguments: dict[str, Any] = {
        "postgresql": {"options": "-c search_path=public,app -c statement_timeout=9s"},
        "mariadb": {"init_command": "SET time_zone = '+03:00'"},
    }
    app = make_app(
        SQLALCHEMY_STATEMENT_TIMEOUT=7.5,
        SQLALCHEMY_ENGINE_OPTIONS={"connect_args": arguments[database.kind]},
    )

    def view() -> object:
        if database.kind == "postgresql":
            keepalives = (f"tcp_keepalives_{name}" for name in ("idle", "interval", "count"))
            names = ("search_path", "statement_timeout", *keepalives)
            return [db.session.scalar(text(f"SHOW {name}")) for name in names]
        return [*db.session.execute(text("SELECT @@time_zone, @@max_statement_time")).one()]

    expected = {"postgresql": ["public,app", "9s", "5", "1", "5"], "mariadb": ["+03:00", 7.5]}
    assert run(app, view) == expected[database.kind]


@BOTH
def test_a_listener_of_the_application_has_the_last_word(
    make_app: Make, database: Database
) -> None:
    app = make_app(SQLALCHEMY_STATEMENT_TIMEOUT=7.5)
    change = {
        "postgresql": "SET statement_timeout = '9s'",
        "mariadb": "SET SESSION max_statement_time = 9",
    }
    show = {"postgresql": "SHOW statement_timeout", "mariadb": "SELECT @@max_statement_time"}

    def on_connect(connection: Any, record: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(change[database.kind])
        connection.commit()

    event.listen(engine_of(app), "connect", on_connect)

    assert run(app, lambda: str(db.session.scalar(text(show[database.kind])))) in ("9s", "9.0")


# connections that are held long


def test_a_connection_held_long_is_logged_once(
    make_app: Make, tables: None, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(POOL_HELD_WARNING=0.1)
    seen = Seen(app)

    def holding() -> None:
        db.session.execute(text("SELECT 1"))
        wait_until(lambda: seen.routes, LONG)
        sleep(1.2)  # two more looks

    run(app, holding)

    (line,) = [each for each in caplog.messages if each.startswith("connection held")]
    assert "by /:" in line
    assert f"{__file__}:" in line.partition("taken at")[2].partition(";")[0]
    assert "in holding" in line.partition(";")[0]
    assert "stands at" in line
    assert seen.routes == ["/"]


@on("sqlite")
def test_a_connection_whose_thread_has_ended_is_logged(
    make_app: Make, tables: None, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(POOL_HELD_WARNING=0.1)
    kept: list[Any] = []
    with app.app_context():
        engine = db.engine
    thread = Thread(target=lambda: kept.append(engine.connect()))
    thread.start()
    thread.join()

    wait_until(lambda: "its thread has ended" in caplog.text, LONG)
    kept.pop().close()


@on("sqlite")
def test_a_short_use_is_not_logged(make_app: Make, caplog: pytest.LogCaptureFixture) -> None:
    app = make_app(POOL_HELD_WARNING=LONG)

    def view() -> None:
        ask()
        sleep(1.1)

    run(app, view)

    assert caplog.messages == []
