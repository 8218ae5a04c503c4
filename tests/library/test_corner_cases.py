"""What is rare, and still as it should be."""

from __future__ import annotations

import gc
import sqlite3
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from threading import Timer
from typing import Any

import flask_pool
import psycopg
import pytest
from flask import Flask
from flask_pool import FairQueuePool, Pool, sql
from flask_pool.connecting import Hosts
from flask_pool.connections import Socket, ask_socket
from flask_pool.options import engine_options
from flask_pool.settings import with_defaults
from flask_pool.uses import line_of
from flask_sqlalchemy import SQLAlchemy
from servers import PgBouncer, wait_until
from sqlalchemy import create_engine, event, text
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.pool import NullPool

from .conftest import Database, Make, Seen, answer, ask, db, engine_of, names, on, run, stored

OPTIONS = "SQLALCHEMY_ENGINE_OPTIONS"
NEVER = "sqlite:////never/opened.db"
UNSUPPORTED = "FATAL:  unsupported startup parameter: options"
RDS_PROXY = (
    "FATAL:  Feature not supported: RDS Proxy currently doesn't support command-line options"
)
SLEEPS = {"postgresql": "pg_sleep(30)", "mariadb": "SLEEP(30)"}


# reads that are run once more


@on("postgresql")
def test_a_read_is_not_run_once_more_after_a_write_to_a_bind_that_is_not_watched(
    make_app: Make, database: Database, tables: None
) -> None:
    """Once more means a rollback, which takes the write along."""
    app = make_app(SQLALCHEMY_BINDS={"memory": "sqlite://"})
    seen = Seen(app)
    memory = app.extensions["pool"].engines["memory"]
    with memory.begin() as connection:
        connection.execute(text("CREATE TABLE notes (name TEXT)"))

    def view() -> list[str]:
        db.session.execute(text("INSERT INTO notes VALUES ('A')"), bind_arguments={"bind": memory})
        names()
        database.kill(app)
        return names()

    assert answer(app, view).status_code == 503
    assert (seen.retries, seen.reasons) == (0, ["unavailable"])
    with memory.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM notes")) == 0


# starting


def fail(*_: Any) -> Any:
    raise RuntimeError("no secret in the vault")


@pytest.mark.parametrize("where", ["creator", "do_connect"])
def test_prefill_goes_on_after_an_error_that_is_not_sqlalchemys(
    make_app: Make, database: Database, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    own = {"creator": fail} if where == "creator" else {}
    bind = {"url": NEVER, "creator": lambda: sqlite3.connect(":memory:")}
    app = make_app(SQLALCHEMY_BINDS={"other": bind}, **{OPTIONS: own})
    engines = app.extensions["pool"].engines
    if where == "do_connect":
        event.listen(engines["default"], "do_connect", fail)
    try:
        app.extensions["pool"].prefill()
    finally:
        gc.unfreeze()

    assert "pool default: not warmed up: RuntimeError" in caplog.text
    assert engines["default"].pool.checkedout() == 0
    assert engines["other"].pool.open_idle() == 2


def test_a_pool_timeout_may_be_text(make_app: Make, tables: None) -> None:
    app = make_app(**{OPTIONS: {"pool_timeout": "10"}})

    assert engine_of(app).pool.timeout() == 10
    assert answer(app, ask).text == "1"


@pytest.mark.parametrize("shared", [True, False])
def test_an_application_that_is_given_up_takes_its_engines_along(
    database: Database, tables: None, shared: bool
) -> None:
    """A suite may make an application per test."""

    def use() -> weakref.ref[Engine]:
        app, own = Flask("given up"), db if shared else SQLAlchemy()
        app.config["SQLALCHEMY_DATABASE_URI"] = database.url()
        Pool(app, own)
        app.add_url_rule("/", view_func=lambda: str(own.session.scalar(text("SELECT 1"))))
        engine: Engine = engine_of(app)
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
        assert app.test_client().get("/").text == "1"
        engine.dispose()  # psycopg warns of connections that nobody closed
        return weakref.ref(engine)

    engine = use()
    gc.collect()

    # the thread that looks at connections may hold it for a moment
    wait_until(lambda: gc.collect() >= 0 and engine() is None, 5)


# the pool's class without an engine


def standalone(database: Database, **options: Any) -> FairQueuePool:
    url = make_url(database.url()).set(drivername="postgresql")
    dsn = url.render_as_string(hide_password=False)
    return FairQueuePool(lambda: psycopg.connect(dsn, autocommit=True), pool_size=1, **options)


@on("postgresql")
def test_a_pool_without_an_engine_replaces_a_connection_that_was_notified(
    database: Database,
) -> None:
    pool = standalone(database)
    first = pool.connect()
    driver: Any = first.driver_connection
    driver.execute("LISTEN corner")
    first.close()
    database.rows("SELECT 1 FROM (SELECT pg_notify('corner', '')) AS sent")
    wait_until(lambda: ask_socket(driver) is Socket.READABLE)

    second = pool.connect()

    now: Any = second.driver_connection
    assert now is not driver
    assert now.execute("SELECT 1").fetchone() == (1,)
    assert driver.closed
    second.close()
    pool.dispose()


@on("postgresql")
def test_a_pool_without_an_engine_replaces_a_connection_instead_of_a_ping(
    database: Database,
) -> None:
    pool = standalone(database, ping_after=0)
    first = pool.connect()
    driver = first.driver_connection
    first.close()

    second = pool.connect()

    assert second.driver_connection is not driver
    assert (pool.checkedout(), pool.checkedin()) == (1, 0)
    second.close()
    pool.dispose()


def test_what_is_returned_while_the_watcher_looks_is_not_reclaimed(app: Flask) -> None:
    engine = engine_of(app)
    pool = engine.pool
    connection = engine.connect()
    ((entry, _),) = pool.out()

    assert pool.reclaim(entry, lambda: False) is False  # it was returned and taken anew
    assert (pool.checkedout(), pool.checkedin()) == (1, 0)
    connection.close()
    assert pool.reclaim(entry, lambda: True) is False  # it is idle
    assert (pool.checkedout(), pool.checkedin()) == (0, 1)
    with engine.connect() as again:
        assert again.scalar(text("SELECT 1")) == 1
        assert pool.out()[0][0] is entry


# autocommit


@pytest.fixture
def autocommit(make_app: Make, tables: None) -> Flask:
    return make_app(**{OPTIONS: {"isolation_level": "AUTOCOMMIT"}})


@on("postgresql", "mariadb")
def test_a_write_in_autocommit_that_is_cut_off_is_in_doubt(
    autocommit: Flask, database: Database
) -> None:
    seen = Seen(autocommit)

    def view() -> None:
        ask()
        killing = Timer(0.3, database.server.kill_backends, (database.name,))
        killing.start()
        slow = f"SELECT concat('A', {SLEEPS[database.kind]})"
        try:
            db.session.execute(text(f"INSERT INTO pool_items (name) {slow}"))
        finally:
            killing.join()

    response = answer(autocommit, view, "POST")

    assert response.status_code == 503
    assert "Retry-After" not in response.headers
    assert seen.reasons == ["in_doubt"]
    assert stored(autocommit) == []


@on("postgresql", "mariadb")
def test_a_read_in_autocommit_that_is_cut_off_is_unavailable(
    autocommit: Flask, database: Database
) -> None:
    seen = Seen(autocommit)

    def view() -> None:
        names()
        database.kill(autocommit)
        names()

    response = answer(autocommit, view, "POST")

    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    assert seen.reasons == ["unavailable"]


# poolers


def parameters(**connect_args: str) -> dict[str, Any]:
    """Return what psycopg is given on an application with these arguments."""
    url = make_url("postgresql+psycopg://h/d")
    found: dict[str, Any] = engine_options(url, with_defaults({}), {"connect_args": connect_args})[
        "connect_args"
    ]
    return found


@pytest.mark.parametrize("said", [UNSUPPORTED, RDS_PROXY])
@pytest.mark.parametrize("own", ["", "-c search_path=app,public -c jit=off"])
def test_options_of_the_application_are_sent_to_a_pooler_that_was_noticed(
    said: str, own: str
) -> None:
    engine = create_engine("postgresql+psycopg://h/d", poolclass=FairQueuePool)
    hosts, given = Hosts(engine), parameters(options=own)
    assert given["options"].startswith("-c statement_timeout=")
    record: Any = None

    assert hosts.is_pooler(psycopg.OperationalError(said))
    hosts.choose(engine.dialect, record, [], given)

    assert given.get("options", "") == own
    assert given["prepare_threshold"] is None
    assert not hosts.is_pooler(psycopg.OperationalError(said))  # once is enough


@on("postgresql")
def test_without_a_pool_the_second_connect_reaches_a_pooler(
    make_app: Make, pgbouncer: PgBouncer, database: Database, tables: None
) -> None:
    app = make_app(pgbouncer.url(database.name), **{OPTIONS: {"poolclass": NullPool}})

    assert answer(app, ask).status_code == 503
    assert answer(app, ask).text == "1"
    assert run(app, names) == []


# limits


@on("mariadb")
def test_a_time_limit_in_the_init_command_wins(make_app: Make) -> None:
    command = "SET SESSION max_statement_time = 9"
    app = make_app(
        SQLALCHEMY_STATEMENT_TIMEOUT=7.5, **{OPTIONS: {"connect_args": {"init_command": command}}}
    )

    assert run(app, lambda: db.session.scalar(text("SELECT @@max_statement_time"))) == 9


# lines and texts


def test_a_package_whose_name_begins_alike_is_not_the_library() -> None:
    beside = Path(flask_pool.__file__).parent.parent / "flask_pool_service" / "views.py"
    names: dict[str, Any] = {"sys": sys, "line_of": line_of}
    source = "def take():\n    return line_of(sys._getframe())\n"
    exec(compile(source, str(beside), "exec"), names)  # noqa: S102

    assert names["take"]() == f"{beside}:2 in take"


LONG_TEXT = "SELECT 1 AS " + "a" * sql.LONGEST


@pytest.mark.parametrize("name", ["only_reads", "may_set_isolation"])
def test_long_texts_are_not_kept(name: str) -> None:
    ask_of: Callable[[str], bool] = getattr(sql, name)
    cache = getattr(sql, f"_{name}")
    before = cache.cache_info().currsize

    assert not ask_of(LONG_TEXT)
    assert cache.cache_info().currsize == before


def test_a_long_text_that_sets_the_isolation_is_known() -> None:
    assert sql.may_set_isolation(f"SET default_transaction_isolation = serializable; {LONG_TEXT}")
