"""What `Pool(app, db)` makes of an application, whatever else is configured."""

from __future__ import annotations

import gc
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from flask import Flask
from flask_pool import FairQueuePool, Pool, reads
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import event, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool, QueuePool, StaticPool

from .conftest import (
    Database,
    Make,
    Seen,
    answer,
    ask,
    db,
    engine_of,
    is_dead,
    on,
    run,
    store,
    stored,
)

URI = "SQLALCHEMY_DATABASE_URI"
OPTIONS = "SQLALCHEMY_ENGINE_OPTIONS"
BINDS = "SQLALCHEMY_BINDS"
NEVER = "sqlite:////never/opened.db"


def bare(**config: Any) -> tuple[Flask, SQLAlchemy, Any]:
    """Return an application that has a URL and nothing else of the pool's, and its engine."""
    app, own = Flask("bare"), SQLAlchemy()
    app.config.update({URI: NEVER} | config)
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
            "pool_use_lifo": True,
            "connect_args": {"timeout": 3},
            "execution_options": {"mine": 1},
        }
    )
    pool = engine.pool
    assert (pool.timeout(), pool.size(), pool.recycle, pool._take_last) == (0.5, 7, 9, True)
    assert engine.get_execution_options() == {"mine": 1}


@pytest.mark.parametrize("poolclass", [NullPool, QueuePool, StaticPool])
def test_a_pool_class_of_the_application_is_used(
    make_app: Make, tables: None, poolclass: Any
) -> None:
    app = make_app(SQLALCHEMY_ENGINE_OPTIONS={"poolclass": poolclass})

    assert type(engine_of(app).pool) is poolclass
    assert answer(app, ask).text == "1"
    store(app, "A")
    assert stored(app) == ["A"]


def test_an_engine_that_was_made_before_is_told_in_one_line() -> None:
    app, own = Flask("bare"), SQLAlchemy()
    app.config[URI] = "sqlite://"
    own.init_app(app)
    with pytest.raises(TypeError, match=r"^Pool needs the application and its SQLAlchemy: .*$"):
        Pool(app)
    with pytest.raises(RuntimeError, match=r"^Pool\.init_app calls db\.init_app: .*$"):
        Pool(app, own)


def test_the_config_is_put_back_as_it_was() -> None:
    """Situation 9: what an application set, it finds again, with its type."""
    options, bind = {"pool_size": 7, "connect_args": {"timeout": 3}}, {"url": NEVER, "echo": False}
    binds: dict[str, Any] = {"a": NEVER, "b": bind}
    before = {URI: NEVER, OPTIONS: options, BINDS: binds, "SQLALCHEMY_POOL_SIZE": "3"}
    app, _, _ = bare(**before)

    assert {key: app.config[key] for key in before} == before
    assert app.config[OPTIONS] is options
    assert app.config[BINDS] is binds
    assert options == {"pool_size": 7, "connect_args": {"timeout": 3}}
    assert bind == {"url": NEVER, "echo": False}


def test_the_config_is_put_back_after_a_refusal_too() -> None:
    app, own = Flask("bare"), SQLAlchemy()
    options = {"no_such_option": 1}
    app.config.update({URI: NEVER, OPTIONS: options})
    with pytest.raises(TypeError, match="no_such_option"):
        Pool(app, own)

    assert app.config[OPTIONS] is options


def test_each_bind_gets_the_same_pool_and_its_own_options() -> None:
    url = "sqlite:////never/other.db"
    app, own, _ = bare(SQLALCHEMY_BINDS={"a": url, "b": {"url": url, "pool_size": 1}})
    with app.app_context():
        pools: list[Any] = [own.engines[key].pool for key in ("a", "b")]
    assert [(type(pool), pool.size()) for pool in pools] == [(FairQueuePool, 5), (FairQueuePool, 1)]
    assert set(app.extensions["pool"].engines) == {"default", "a", "b"}


@on("postgresql", "mariadb")
def test_a_bind_has_the_promises_of_the_first(
    make_app: Make, database: Database, tables: None
) -> None:
    own = make_app().config[URI]
    app, apart = Flask("binds"), SQLAlchemy()
    app.config.update(
        {URI: "sqlite://", BINDS: {"other": own}, "SQLALCHEMY_STATEMENT_TIMEOUT": 7.5}
    )

    class There(apart.Model):  # type: ignore[name-defined, misc]
        __tablename__ = "pool_items"
        __bind_key__ = "other"
        id = apart.Column(apart.Integer, primary_key=True)
        name = apart.Column(apart.String(50))

    Pool(app, apart)

    @app.get("/")
    def view() -> str:
        found = list(apart.session.scalars(select(There.name)))
        if database.kind == "postgresql":
            database.kill(app)
            found += apart.session.scalars(select(There.name))
        return ",".join(found)

    with app.app_context():
        with apart.engines["other"].begin() as connection:
            connection.execute(text("INSERT INTO pool_items (id, name) VALUES (1, 'A')"))
        show = {"postgresql": "SHOW statement_timeout", "mariadb": "SELECT @@max_statement_time"}
        with apart.engines["other"].connect() as connection:
            assert str(connection.scalar(text(show[database.kind]))) in ("7500ms", "7.5")
    assert app.test_client().get("/").text == ("A,A" if database.kind == "postgresql" else "A")
    with app.app_context():
        apart.engines["other"].dispose()


def test_urls_mean_what_sqlalchemy_says() -> None:
    """The library changes no URL's driver."""
    url = "postgresql+psycopg://h/d"
    _, _, engine = bare(SQLALCHEMY_DATABASE_URI=url)
    assert engine.url == make_url(url)


def test_several_hosts_are_asked_for_the_one_that_writes() -> None:
    def asked(url: str) -> dict[str, Any]:
        _, _, engine = bare(SQLALCHEMY_DATABASE_URI=url)
        found: list[dict[str, Any]] = []

        @event.listens_for(engine, "do_connect")
        def stop(dialect: Any, record: Any, cargs: Any, cparams: dict[str, Any]) -> None:
            found.append(cparams)
            raise InterruptedError

        with pytest.raises(InterruptedError):
            engine.connect()
        return found[0]

    url = "postgresql+psycopg:///d?host=a:1&host=b:2"
    assert asked(url)["target_session_attrs"] == "read-write"
    assert asked(f"{url}&target_session_attrs=any")["target_session_attrs"] == "any"
    assert "target_session_attrs" not in asked("postgresql+psycopg://a/d")


# the driver's connection is the application's


# SQLite


def test_an_in_memory_database_is_as_flask_sqlalchemy_makes_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    plain, own = Flask("plain"), SQLAlchemy()
    plain.config[URI] = "sqlite://"
    own.init_app(plain)
    app, _, engine = bare(SQLALCHEMY_DATABASE_URI="sqlite://", SQLALCHEMY_POOL_SIZE=3)

    with plain.app_context():
        assert type(engine.pool) is type(own.engine.pool)
    (line,) = caplog.messages
    assert "do not apply" in line
    app.extensions["pool"].prefill()


def test_sqlite_checks_foreign_keys_and_lets_readers_read_beside_a_writer(tmp_path: Path) -> None:
    _, _, engine = bare(SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path / 'own.db'}")
    with engine.connect() as connection:
        assert connection.scalar(text("PRAGMA foreign_keys")) == 1
        assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
    engine.dispose()


@pytest.mark.parametrize(("pragma", "plain"), [("foreign_keys", 0), ("journal_mode", "delete")])
def test_a_listener_of_the_application_sets_sqlite_back(
    tmp_path: Path, pragma: str, plain: Any
) -> None:
    _, _, engine = bare(SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path / 'own.db'}")
    event.listen(engine, "connect", lambda made, _: made.execute(f"PRAGMA {pragma} = {plain}"))
    with engine.connect() as connection:
        assert connection.scalar(text(f"PRAGMA {pragma}")) == plain
    engine.dispose()


# requests and connections


def test_requests_give_their_connections_back_after_success_and_failure(
    app: Flask, engine: Any
) -> None:
    app.testing = False

    def view(works: int) -> str:
        ask()
        return str(1 // works)

    for number in (1, 0, 1, 0):
        response = answer(app, lambda number=number: view(number))  # type: ignore[misc]
        assert response.status_code == (200 if number else 500)
        assert engine.pool.checkedout() == 0


def test_many_requests_open_no_more_connections_than_threads(app: Flask, engine: Any) -> None:
    start = Barrier(2)
    app.add_url_rule("/ask", view_func=ask)

    def work(_: int) -> None:
        start.wait()
        for _ in range(20):
            assert app.test_client().get("/ask").text == "1"

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(work, range(2)))
    assert engine.pool.checkedin() <= 2


@on("sqlite", "postgresql")
def test_commands_have_the_same_pool_and_open_nothing_ahead(app: Flask, engine: Any) -> None:
    @app.cli.command("job")
    def job() -> None:
        for _ in range(3):
            ask()
            db.session.commit()

    result = app.test_cli_runner().invoke(args=["job"])

    assert result.exception is None
    assert type(engine.pool) is FairQueuePool
    assert len(engine.pool._entries) == 1


def test_several_applications_share_one_db(make_app: Make, tables: None) -> None:
    first, second = make_app(), make_app(SQLALCHEMY_POOL_SIZE=1)
    seen = Seen(first), Seen(second)

    for _ in range(2):
        assert answer(first, ask).text == answer(second, ask).text == "1"
    store(first, "A")

    assert stored(second) == ["A"]
    assert (engine_of(first).pool.size(), engine_of(second).pool.size()) == (2, 1)
    assert seen[0].leaks == seen[1].leaks == []


def test_an_application_without_a_pool_may_share_its_db(make_app: Make, tables: None) -> None:
    app = make_app()
    plain = Flask("plain")
    plain.config[URI] = app.config[URI]
    own = SQLAlchemy()
    other = Flask("other")
    other.config[URI] = app.config[URI]
    Pool(other, own)
    own.init_app(plain)
    plain.add_url_rule("/", view_func=lambda: str(own.session.scalar(text("SELECT 1"))))

    assert plain.test_client().get("/").text == "1"
    with plain.app_context():
        own.engine.dispose()
    with other.app_context():
        own.engine.dispose()


def test_prefill_opens_the_pool_and_freezes_what_is_there(make_app: Make, tables: None) -> None:
    app = make_app()
    pools = app.extensions["pool"]
    before = gc.get_freeze_count()
    try:
        pools.prefill()
        assert gc.get_freeze_count() > before
    finally:
        gc.unfreeze()

    pool = engine_of(app).pool
    assert (pool.checkedin(), pool.open_idle(), pool.checkedout()) == (2, 2, 0)


def test_prefill_can_be_turned_off_and_survives_a_database_that_is_away(
    make_app: Make, caplog: pytest.LogCaptureFixture
) -> None:
    off = make_app(POOL_PREFILL=False)
    away = make_app("sqlite:////nowhere/to/be/found.db")
    try:
        off.extensions["pool"].prefill()
        away.extensions["pool"].prefill()
    finally:
        gc.unfreeze()

    assert engine_of(off).pool.checkedin() == engine_of(away).pool.checkedin() == 0
    assert caplog.messages == ["pool default: not warmed up: OperationalError"]


@on("postgresql", "mariadb")
def test_close_says_goodbye(app: Flask, database: Database) -> None:
    run(app, ask)
    (connection,) = [entry.dbapi_connection for entry in engine_of(app).pool._entries]
    log = database.server.log()

    for engine in app.extensions["pool"].engines.values():
        engine.dispose()

    assert is_dead(connection)
    new = database.server.log()[len(log) :]
    assert "unexpected EOF" not in new
    assert "Aborted connection" not in new


WITHOUT_OPS = """
import importlib.util, sys
find = importlib.util.find_spec
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("prometheus_client", "rich"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import text
from flask_pool import Pool
app, db = Flask("bare"), SQLAlchemy()
app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///" + sys.argv[1]
Pool(app, db)
app.add_url_rule("/", view_func=lambda: str(db.session.scalar(text("SELECT 1"))))
print(app.test_client().get("/").text, app.test_client().get("/metrics").status_code)
"""


def test_the_core_works_without_what_operators_use(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_OPS, str(tmp_path / "own.db")],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.stdout.startswith("1 "), done.stderr


def test_session_at_the_address_of_an_earlier_one_is_listened_to() -> None:
    """Tests that make application after application have this; `event.contains` went by `id`."""
    seen: set[int] = set()
    for _ in range(1000):
        app, own, _ = bare()
        again = id(own.session) in seen
        seen.add(id(own.session))
        with app.app_context():
            assert reads.read in list(own.session().dispatch.do_orm_execute)
        app.test_client().get("/")
        if again:
            return
        del app, own
        gc.collect()
    pytest.fail("no address came again")
