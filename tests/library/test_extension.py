"""What `Pool().init_app(app, db)` makes of an application, whatever else is configured."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import click
import pytest
from click.testing import CliRunner
from flask import Flask
from flask.cli import FlaskGroup, ScriptInfo
from flask.testing import FlaskClient
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import select, text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import NullPool, QueuePool

from flask_pool import FairQueuePool, Pool

from .conftest import Item, Make, db


def bare(**config: Any) -> tuple[Flask, SQLAlchemy, Any]:
    """Return an application that has a URL and nothing else of the pool's, and its engine."""
    app, own = Flask("bare"), SQLAlchemy()
    app.config.update({"SQLALCHEMY_DATABASE_URI": "sqlite:////never/opened.db"} | config)
    Pool().init_app(app, own)
    with app.app_context():
        return app, own, own.engine


def test_a_database_url_is_all_that_it_needs() -> None:
    _, _, engine = bare()

    assert type(engine.pool) is FairQueuePool
    assert (engine.pool.size(), engine.pool.capacity, engine.pool.timeout()) == (5, 15, 30.0)
    assert (engine.pool.recycle, engine.pool.ping_after) == (1800, 1.0)


def test_the_four_numbers_reach_the_pool() -> None:
    _, _, engine = bare(
        SQLALCHEMY_POOL_SIZE=3,
        SQLALCHEMY_MAX_OVERFLOW=2,
        SQLALCHEMY_POOL_TIMEOUT=4.5,
        SQLALCHEMY_POOL_RECYCLE=60,
    )
    pool = engine.pool
    assert (pool.size(), pool.capacity, pool.timeout(), pool.recycle) == (3, 5, 4.5, 60)


def test_options_of_the_application_win_and_are_merged() -> None:
    _, _, engine = bare(
        SQLALCHEMY_ENGINE_OPTIONS={
            "pool_timeout": 0.5,
            "pool_size": 7,
            "pool_recycle": 9,
            "connect_args": {"timeout": 3},
            "execution_options": {"mine": 1},
        }
    )
    pool = engine.pool
    assert (pool.timeout(), pool.size(), pool.recycle) == (0.5, 7, 9)
    assert engine.get_execution_options() == {"mine": 1}
    _, arguments = engine.dialect.create_connect_args(engine.url)
    assert "timeout" not in arguments  # not the URL's


def test_a_pool_class_of_the_application_is_used() -> None:
    for poolclass in (NullPool, QueuePool):
        _, _, engine = bare(SQLALCHEMY_ENGINE_OPTIONS={"poolclass": poolclass})
        assert type(engine.pool) is poolclass


def test_options_given_to_the_extension_of_flask_sqlalchemy_count_too() -> None:
    app, own = Flask("bare"), SQLAlchemy(engine_options={"pool_size": 9})
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:////never/opened.db"
    Pool().init_app(app, own)
    with app.app_context():
        assert own.engine.pool.size() == 9  # type: ignore[attr-defined]


def test_an_engine_that_was_made_before_is_told_in_one_line() -> None:
    app, own = Flask("bare"), SQLAlchemy()
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"
    own.init_app(app)
    with pytest.raises(RuntimeError, match=r"^Pool\.init_app calls db\.init_app: .*$"):
        Pool().init_app(app, own)


def test_each_bind_gets_the_same_pool_and_its_own_options() -> None:
    url = "sqlite:////never/other.db"
    app, own, _ = bare(SQLALCHEMY_BINDS={"a": url, "b": {"url": url, "pool_size": 1}})
    with app.app_context():
        pools: list[Any] = [own.engines[key].pool for key in ("a", "b")]
    assert [(type(pool), pool.size()) for pool in pools] == [(FairQueuePool, 5), (FairQueuePool, 1)]
    assert set(app.extensions["pool"].engines) == {"default", "a", "b"}


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("postgres://h/d", "postgresql+psycopg"),
        ("postgresql://h/d", "postgresql+psycopg"),
        ("mysql://h/d", "mysql+pymysql"),
        ("mariadb://h/d", "mariadb+pymysql"),
    ],
)
def test_the_driver_is_the_one_that_the_pool_knows(given: str, used: str) -> None:
    _, _, engine = bare(SQLALCHEMY_DATABASE_URI=given)
    assert engine.url.drivername == used


def test_several_hosts_are_asked_for_the_one_that_writes() -> None:
    app, _, _ = bare(SQLALCHEMY_DATABASE_URI="postgresql:///d?host=a:1&host=b:2")
    arguments = app.extensions["pool"].options["default"]["connect_args"]
    assert arguments["target_session_attrs"] == "read-write"
    app, _, _ = bare(SQLALCHEMY_DATABASE_URI="postgresql:///d?host=a,b&target_session_attrs=any")
    assert "target_session_attrs" not in app.extensions["pool"].options["default"]["connect_args"]


def pool_class_under(command: click.Command, *arguments: str) -> str:
    return str(CliRunner().invoke(command, arguments, catch_exceptions=False).output.strip())


def test_only_flask_commands_do_without_a_pool() -> None:
    def show() -> None:
        click.echo(type(bare()[2].pool).__name__)

    group = FlaskGroup(create_app=lambda: Flask("other"), add_version_option=False)
    group.add_command(click.Command("job", callback=show))
    assert pool_class_under(group, "job") == "NullPool"

    # other programs are made with click as well
    assert pool_class_under(click.Command("worker", callback=show)) == "FairQueuePool"


def test_a_command_ignores_the_numbers_of_a_pool() -> None:
    def show() -> None:
        options = {"pool_size": 3, "max_overflow": 1, "pool_pre_ping": True}
        click.echo(type(bare(SQLALCHEMY_ENGINE_OPTIONS=options)[2].pool).__name__)

    command = click.Command("job", callback=show)
    found = CliRunner().invoke(command, obj=ScriptInfo(), catch_exceptions=False)
    assert found.output.strip() == "NullPool"


@pytest.fixture
def in_memory(make_app: Make) -> Flask:
    app = make_app(SQLALCHEMY_DATABASE_URI="sqlite://", SQLALCHEMY_POOL_TIMEOUT=5)

    @app.post("/")
    def add() -> str:
        db.session.add(Item(name="new"))
        db.session.commit()
        return ",".join(db.session.scalars(select(Item.name)))

    with app.app_context():
        db.create_all()
    return app


def test_an_in_memory_database_is_one_connection_for_all_threads(in_memory: Flask) -> None:
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: in_memory.test_client().post("/"), range(40)))

    assert {answer.status_code for answer in answers} == {200}
    with in_memory.app_context():
        assert len(db.session.scalars(select(Item)).all()) == 40
        assert str(db.engine.url) == "sqlite://"


def test_nested_contexts_of_a_thread_share_the_in_memory_connection(in_memory: Flask) -> None:
    with in_memory.app_context():
        assert db.session.scalars(select(Item)).all() == []
        assert in_memory.test_client().post("/").text == "new"
        assert len(db.session.scalars(select(Item)).all()) == 1
        engine = in_memory.extensions["pool"].engines["default"]
        engine.pool._timeout = 0.01
        with ThreadPoolExecutor(1) as thread:
            elsewhere = thread.submit(engine.connect)
        with pytest.raises(PoolTimeoutError):
            elsewhere.result()


def test_sqlite_checks_foreign_keys_and_lets_readers_read_beside_a_writer(tmp_path: Path) -> None:
    _, _, engine = bare(SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path / 'own.db'}")
    with engine.connect() as connection:
        assert connection.scalar(text("PRAGMA foreign_keys")) == 1
        assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
    engine.dispose()


def test_requests_give_their_connections_back_after_success_and_failure(
    app: Flask, engine: Any
) -> None:
    @app.get("/<int:works>")
    def view(works: int) -> str:
        db.session.execute(text("SELECT 1"))
        return str(1 // works)

    app.testing = False
    for number in (1, 0, 1, 0):
        assert app.test_client().get(f"/{number}").status_code == (200 if number else 500)
        assert engine.pool.checkedout() == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Python's, of forks beside threads
@pytest.mark.parametrize(
    ("work", "fails"),
    [
        (lambda: db.session.remove(), False),
        (lambda: db.session.rollback(), False),
        (lambda: db.engine.dispose(), False),
        (lambda: db.session.commit(), True),
        (lambda: db.session.execute(text("DELETE FROM pool_items")), True),
    ],
    ids=["remove", "rollback", "dispose", "commit", "execute"],
)
def test_a_child_never_touches_its_parents_transaction(
    app: Flask, work: Callable[[], object], fails: bool
) -> None:
    with app.app_context():
        db.session.add(Item(name="parent's"))
        db.session.flush()
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            try:
                work()
            except DBAPIError:
                os._exit(1)
            except BaseException:
                os._exit(2)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == fails
        db.session.commit()
        assert db.session.scalars(select(Item.name)).all() == ["parent's"]
        db.session.remove()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Python's, of forks beside threads
def test_a_child_works_with_connections_of_its_own(app: Flask, engine: Engine) -> None:
    with engine.connect() as held:
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            with app.app_context():
                db.session.add(Item(name="child's"))
                db.session.commit()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert held.scalars(select(Item.name)).all() == ["child's"]


def test_many_requests_open_no_more_connections_than_threads(
    app: Flask, client: FlaskClient, engine: Any
) -> None:
    start = Barrier(2)

    @app.get("/")
    def view() -> str:
        return str(db.session.scalar(text("SELECT 1")))

    def ask(_: int) -> None:
        start.wait()
        for _ in range(20):
            assert app.test_client().get("/").text == "1"

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(ask, range(2)))
    assert engine.pool.checkedin() <= 2
