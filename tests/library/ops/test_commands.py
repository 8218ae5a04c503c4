"""What operators get from `flask pool ...`, on whatever database the tests run."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from threading import Event, Thread
from time import sleep
from typing import Any

import flask_pool as pool
import pytest
from flask import Flask
from flask.testing import FlaskCliRunner
from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy.session import Session
from sqlalchemy import event, func, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.orm import scoped_session
from sqlalchemy.pool import QueuePool
from werkzeug.serving import make_server

from library.conftest import Item, Make, db

COMMANDS = ["trace", "status", "check", "plan", "bench"]
BENCH = ["bench", "--path", "/items"]

sizing: Any = import_module(f"{pool.__name__}.ops.commands.sizing")
steps: Any = import_module(f"{pool.__name__}.ops.commands.steps")


def run(runner: FlaskCliRunner, *arguments: str) -> str:
    result = runner.invoke(args=["pool", *arguments])
    assert result.exit_code == 0, result.output
    return str(result.stdout)


def data(runner: FlaskCliRunner, *arguments: str) -> Any:
    return json.loads(run(runner, *arguments, "--format", "json"))


def failure(runner: FlaskCliRunner, *arguments: str, exit_code: int = 1) -> str:
    result = runner.invoke(args=["pool", *arguments])
    assert result.exit_code == exit_code
    (line,) = result.output.splitlines()
    assert line.startswith("Error: ")
    return str(line)


@pytest.fixture
def app(app: Flask) -> Flask:
    """The application, with a view."""

    @app.get("/items")
    def items() -> str:
        return ",".join(db.session.scalars(select(Item.name)))

    return app


@pytest.fixture
def address(app: Flask) -> Iterator[str]:
    """Where the application listens."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself_with_an_example(runner: FlaskCliRunner, command: str) -> None:
    assert f"Example: flask pool {command}" in run(runner, command, "--help")


@pytest.mark.parametrize(("requests", "rows"), [("1", 6), ("5", 22), ("12", 50)])
def test_a_trace_has_four_rows_for_each_request(
    runner: FlaskCliRunner, requests: str, rows: int
) -> None:
    assert len(data(runner, "trace", "--requests", requests)) == rows


@pytest.mark.parametrize(("size", "first"), [("1", "Second"), ("2", "Third"), ("3", None)])
def test_a_concurrent_trace_shows_who_waits(
    runner: FlaskCliRunner, size: str, first: str | None
) -> None:
    rows = data(runner, "trace", "--concurrent", "--pool-size", size)

    waiting = [row for row in rows if row["action"].endswith("request waits for a connection")]
    assert max(row["in_use"] for row in rows) == int(size)
    assert {row["available"] for row in waiting} <= {0}
    assert [row["action"].split()[0] for row in waiting][:1] == ([first] if first else [])
    assert rows[-2]["state"] == f"0 / {size}"


def test_who_waits_takes_a_connection_after_its_return_was_noted(app: Flask) -> None:
    numbers = {"pool_size": 1, "max_overflow": 0, "wait_timeout": 5}
    engine = app.extensions["pool"].another("default", steps.SteppedPool, **numbers)
    held = engine.connect()
    waiter = Thread(target=lambda: engine.connect().close())
    waiter.start()
    while not engine.pool.waiting():
        sleep(0.001)

    engine.pool.stopped = True
    held.close()
    waiter.join(0.05)
    assert waiter.is_alive()
    assert (engine.pool.checkedout(), engine.pool.checkedin()) == (0, 1)
    engine.pool.go_on()
    waiter.join(5)
    assert not waiter.is_alive()
    engine.dispose()


def test_a_trace_is_a_plain_table_or_markdown_for_other_programs(runner: FlaskCliRunner) -> None:
    table = run(runner, "trace").splitlines()
    markdown = run(runner, "trace", "--format", "markdown").splitlines()

    assert table[0].split(maxsplit=2)[:2] == ["Step", "Action"]
    assert all(line.isascii() and line == line.rstrip() for line in table)
    assert (len(table), len(markdown)) == (15, 16)
    assert markdown[2] == (
        "| 1 | App starts and creates pool with 2 connections | 0 / 2 | Pool ready |"
    )


@pytest.mark.parametrize(
    ("url", "command"),
    [
        ("sqlite:////nowhere/to/be/found.db", "bench"),
        ("postgresql+psycopg://nobody:secret@127.0.0.1:1/none", "bench"),
        ("postgresql+psycopg://nobody:secret@127.0.0.1:1/none", "trace"),
        ("mysql+pymysql://nobody:secret@127.0.0.1:1/none", "check"),
    ],
)
def test_a_database_that_is_away_is_told_in_one_line(
    make_app: Make, url: str, command: str
) -> None:
    told = failure(make_app(SQLALCHEMY_DATABASE_URI=url).test_cli_runner(), command)

    assert "OperationalError: " in told
    assert "secret" not in told


def test_status_asks_the_running_service(runner: FlaskCliRunner, address: str) -> None:
    (pool,) = data(runner, "status", "--url", address)["pools"]

    table = run(runner, "status", "--url", address)

    assert (pool["size"], pool["capacity"]) == (2, 3)
    assert ["capacity", "3"] in [line.split() for line in table.splitlines()]


def test_status_needs_the_token(app: Flask, make_app: Make, address: str) -> None:
    runner = make_app(OPS_TOKEN="another").test_cli_runner()

    told = failure(runner, "status", "--url", address)

    assert "answered 404: is OPS_TOKEN the service's own?" in told


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "ftp://127.0.0.1", "http://[", "x"])
def test_a_service_that_is_not_there_is_told_in_one_line(runner: FlaskCliRunner, url: str) -> None:
    assert url in failure(runner, "status", "--url", url)


def test_status_ends_quietly_even_under_a_shell_that_ignores_interrupts(
    runner: FlaskCliRunner, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(seconds: float) -> None:
        signal.raise_signal(signal.SIGINT)

    status = import_module(f"{pool.__name__}.ops.commands.status")
    monkeypatch.setattr(status, "sleep", interrupt)
    kept = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        result = runner.invoke(args=["pool", "status", "--url", address, "--watch"])
    finally:
        signal.signal(signal.SIGINT, kept)

    assert (result.exit_code, result.stderr) == (0, "")


def test_settings_that_fit_have_no_error(make_app: Make) -> None:
    runner = make_app(WEB_CONCURRENCY=2).test_cli_runner()

    found = data(runner, "check")

    assert found["ok"]
    assert found["pools"][0]["needed"] == 2 * 3
    assert "6 connections (2 workers x 3)" in run(runner, "check")


def test_binds_on_one_server_share_its_limit(make_app: Make, database_url: str) -> None:
    app = make_app(SQLALCHEMY_BINDS={"other": database_url}, WEB_CONCURRENCY=2)

    pools = data(app.test_cli_runner(), "check")["pools"]

    db.metadatas.pop("other")  # the extension keeps it for every application
    assert {pool["pool"] for pool in pools} == {"default", "other"}
    assert [pool["needed"] for pool in pools] == [2 * 2 * 3] * 2


@pytest.mark.parametrize(
    ("settings", "exit_code", "severity", "name"),
    [
        ({"WEB_CONCURRENCY": 2}, 1, "error", "sqlite_memory"),
        ({"WEB_CONCURRENCY": 1}, 0, "warning", "sqlite_memory"),
    ],
)
def test_a_database_in_memory_is_for_one_process(
    make_app: Make, settings: dict[str, Any], exit_code: int, severity: str, name: str
) -> None:
    app = make_app(**settings, SQLALCHEMY_DATABASE_URI="sqlite://")

    result = app.test_cli_runner().invoke(args=["pool", "check", "--format", "json"])

    findings = json.loads(result.stdout)["findings"]
    assert result.exit_code == exit_code
    assert (severity, name) in [(found["severity"], found["name"]) for found in findings]


def test_threads_beyond_the_pool_are_a_warning(make_app: Make) -> None:
    findings = data(make_app(WEB_THREADS=4).test_cli_runner(), "check")["findings"]

    (found,) = [found for found in findings if found["name"] == "threads"]
    assert (found["severity"], found["pool"]) == ("warning", "default")


@pytest.mark.parametrize(
    ("servers", "load", "waits"), [(1, 0.5, 0.5), (2, 1.0, 1 / 3), (3, 2.0, 4 / 9)]
)
def test_the_queue_is_that_of_the_textbooks(servers: int, load: float, waits: float) -> None:
    queue = sizing.smallest(load, 0, 1 - waits - 1e-9)

    assert (queue.servers, queue.waits) == (servers, pytest.approx(waits))
    assert queue.mean_wait == pytest.approx(waits / (servers - load))


def test_a_large_queue_is_as_exact_as_a_small_one() -> None:
    queue = sizing.smallest(250_000, 0, 0.99)

    # Halfin and Whitt: load + beta * sqrt(load), beta 2.3 for a share of 1 %
    assert 250_000 + 2 * 500 < queue.servers < 250_000 + 2.6 * 500
    assert 0.009 < queue.waits <= 0.01


def test_a_plan_keeps_the_wait_with_the_smallest_pool(runner: FlaskCliRunner) -> None:
    demand = ["--rate", "100", "--hold", "20", "--python", "0", "--wait", "10", "--limit", "9"]

    found = data(runner, "plan", *demand, "--workers", "1")

    assert found["plan"]["pool_size"] == 6  # 1.8 % wait longer with 5
    assert found["plan"]["wait_ms"] <= 10
    assert (found["plan"]["connections"], found["plan"]["fits"]) == (6, True)
    assert [plan["fits"] for plan in found["growth"]] == [False] * 3
    assert "SQLALCHEMY_POOL_SIZE=6" in run(runner, "plan", *demand)


def test_a_plan_is_measured_from_the_running_service(
    app: Flask, runner: FlaskCliRunner, address: str
) -> None:
    done = Event()

    def visit() -> None:
        client = app.test_client()
        while not done.wait(0.001):
            client.get("/items")

    load = Thread(target=visit)
    load.start()

    found = data(runner, "plan", "--from", address, "--interval", "0.2")

    done.set()
    load.join()
    assert found["demand"]["rate"] > 1
    assert 0 < found["demand"]["hold"] < 1
    told = failure(runner, "plan", "--from", address, "--interval", "0.05")
    assert "used no connection" in told


@pytest.mark.parametrize(
    "option",
    [
        "plan --rate", "plan --hold", "plan --python", "plan --wait", "plan --percentile",
        "plan --interval", "bench --seconds", "bench --simulate-latency", "status --interval",
    ],
)  # fmt: skip
def test_a_number_that_is_none_is_refused_in_one_line(make_app: Make, option: str) -> None:
    runner = make_app().test_cli_runner()

    for wrong in ("nan", "inf", "-inf", "-1", "many"):
        assert option.split()[1] in failure(runner, *option.split(), wrong, exit_code=2)


def test_a_bench_compares_pools_and_leaves_nothing_behind(
    app: Flask, runner: FlaskCliRunner
) -> None:
    own = app.extensions["pool"].engines["default"]
    arguments = ["--seconds", "0.5", "--rounds", "1", "--threads", "2"]

    unpooled, *pooled = data(runner, *BENCH, *arguments)["results"]

    assert (unpooled["variant"], unpooled["ratio"]) == ("unpooled", 1)
    assert [result["variant"] for result in pooled] == [
        "pooled", "pooled, pre-ping", "as configured",
    ]  # fmt: skip
    assert {result["failed"] for result in (unpooled, *pooled)} == {0}
    assert unpooled["opened"] == unpooled["requests"]
    assert all(result["opened"] <= 3 for result in pooled)
    with app.app_context():
        assert db.engine is own
        assert db.session.scalar(select(func.count(Item.id))) == 0


def test_check_says_which_promise_is_lost_and_why(make_app: Make) -> None:
    app = make_app(SQLALCHEMY_ENGINE_OPTIONS={"poolclass": QueuePool})

    (found,) = promises(app)

    assert "its pool is a QueuePool" in found["message"]
    assert found["severity"] == "info"


def test_check_says_that_sessions_are_not_seen(database_url: str) -> None:
    app, own = Flask("own"), SQLAlchemy()
    app.config["SQLALCHEMY_DATABASE_URI"] = database_url
    own.session = scoped_session(lambda: Session(own))  # type: ignore[arg-type]
    pool.Pool(app, own)

    (found,) = promises(app)

    assert "a function makes the sessions of db.session" in found["message"]
    assert "no COMMIT on a dead connection" in found["message"]


def promises(app: Flask) -> list[dict[str, str]]:
    findings = data(app.test_cli_runner(), "check")["findings"]
    return [each for each in findings if each["name"] == "promise"]


@pytest.mark.needs("postgres")
class TestPromisesOnPostgreSQL:
    """What an application does that takes a promise away, and that alone."""

    @pytest.fixture
    def url(self, database_url: str) -> str:
        if not database_url.startswith("postgresql"):
            pytest.skip("on PostgreSQL")
        return database_url

    def test_nothing_is_lost_by_default(self, make_app: Make, url: str) -> None:
        assert promises(make_app()) == []

    def test_a_creator_connects_in_the_dialects_place(self, make_app: Make, url: str) -> None:
        psycopg = import_module("psycopg")
        plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        calls: list[int] = []

        def creator() -> Any:
            calls.append(1)
            return psycopg.connect(plain)

        options = {"creator": creator}
        app = make_app(
            SQLALCHEMY_DATABASE_URI="postgresql+psycopg://", SQLALCHEMY_ENGINE_OPTIONS=options
        )

        (found,) = promises(app)
        assert "`creator` connects" in found["message"]
        before = len(calls)
        assert len(data(app.test_cli_runner(), "trace")) == 14
        assert len(calls) == before + 2

    def test_a_wrapped_cursor(self, make_app: Make, url: str) -> None:
        psycopg = import_module("psycopg")
        traced = type("TracedCursor", (psycopg.Cursor,), {})
        arguments = {"connect_args": {"cursor_factory": traced}}

        (found,) = promises(make_app(SQLALCHEMY_ENGINE_OPTIONS=arguments))

        assert "TracedCursor: without reads without a transaction" in found["message"]

    def test_a_listener_to_do_execute(self, make_app: Make, url: str) -> None:
        app = make_app()
        engine = app.extensions["pool"].engines["default"]
        event.listen(engine, "do_execute", lambda cursor, statement, parameters, context: None)

        (found,) = promises(app)

        assert "listens to do_execute" in found["message"]

    def test_a_listener_to_reset(self, make_app: Make, url: str) -> None:
        app = make_app()
        engine = app.extensions["pool"].engines["default"]
        event.listen(engine, "reset", lambda connection, record, state: None)

        (found,) = promises(app)

        assert "listens to reset" in found["message"]

    def test_higher_isolation(self, make_app: Make, url: str) -> None:
        options = {"isolation_level": "REPEATABLE READ"}

        (found,) = promises(make_app(SQLALCHEMY_ENGINE_OPTIONS=options))

        assert "REPEATABLE READ" in found["message"]


def test_a_fresh_password_of_a_listener_is_used_by_every_command(
    make_app: Make, database_url: str
) -> None:
    """Also by the pools that `trace` makes, and by the unpooled part of `bench`."""
    url = make_url(database_url)
    if url.get_backend_name() == "sqlite":
        pytest.skip("it has no password")
    app = make_app(SQLALCHEMY_DATABASE_URI=url.set(password="old").render_as_string(False))

    def fresh(dialect: Any, record: Any, cargs: Any, cparams: dict[str, Any]) -> None:
        cparams["password"] = url.password

    event.listen(app.extensions["pool"].engines["default"], "do_connect", fresh)
    app.add_url_rule("/one", "one", lambda: str(db.session.scalar(text("SELECT 1"))))
    runner = app.test_cli_runner()

    assert len(data(runner, "trace")) == 14
    assert data(runner, "check")["ok"]
    bench = data(runner, "bench", "--path", "/one", "--seconds", "0.5", "--rounds", "1")
    assert [each["failed"] for each in bench["results"]] == [0] * 4


def test_a_library_that_is_missing_is_told_in_one_line(
    runner: FlaskCliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "rich"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rich", None)

    told = failure(runner, "trace")

    assert "rich is not installed: pip install 'flask-pool[ops]'" in told
    assert len(data(runner, "trace")) == 14  # JSON needs nothing of it


def test_a_bench_refuses_what_it_cannot_measure(make_app: Make, runner: FlaskCliRunner) -> None:
    memory = make_app(SQLALCHEMY_DATABASE_URI="sqlite://").test_cli_runner()

    assert "nothing to compare" in failure(memory, "bench")
    assert "404" in failure(runner, "bench", "--seconds", "1", "--path", "/nowhere")


@pytest.mark.parametrize("name", ["bench.txt", "nowhere/bench.svg", "folder.svg"])
def test_a_bench_refuses_a_picture_that_it_cannot_write_before_it_measures(
    runner: FlaskCliRunner, tmp_path: Path, name: str
) -> None:
    (tmp_path / "folder.svg").mkdir()

    told = failure(runner, *BENCH, "--plot", str(tmp_path / name), exit_code=2)

    assert told.startswith("Error: --plot: ")
    assert [path.name for path in tmp_path.iterdir()] == ["folder.svg"]


@pytest.mark.parametrize("path", ["http://[::1", "/\xff", "garbage", ""])
def test_a_path_that_is_none_is_refused_before_anything_is_measured(
    runner: FlaskCliRunner, path: str
) -> None:
    assert "--path" in failure(runner, *BENCH, "--path", path, exit_code=2)


def test_a_password_in_the_address_of_a_service_is_not_shown(runner: FlaskCliRunner) -> None:
    assert "s3cr3t" not in failure(runner, "status", "--url", "http://u:s3cr3t@127.0.0.1:1")
