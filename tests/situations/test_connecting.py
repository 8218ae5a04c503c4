"""Who makes a connection, with what, and who is called for it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import psycopg
import pymysql
import pytest
from sqlalchemy import event, select, text
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.exc import DisconnectionError, OperationalError
from sqlalchemy.pool import NullPool, QueuePool, StaticPool
from sqlalchemy.pool import Pool as AnyPool

from .applications import POOL, Application
from .conftest import Make
from .databases import Database, on

wrapt: Any = pytest.importorskip("wrapt")


class OwnPsycopg(psycopg.Connection[Any]):
    """A connection class of the application's own."""


class OwnPyMySQL(pymysql.connections.Connection):
    """A connection class of the application's own."""


class Forwarding:
    """A connection that forwards to another, as a tunnel's package makes it."""

    def __init__(self, connection: Any) -> None:
        self.inner = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class TracedCursor(wrapt.ObjectProxy):  # type: ignore[misc]
    """A cursor as ddtrace has it."""

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        """Count and forward."""
        seen.append("execute")
        return self.__wrapped__.execute(*args, **kwargs)


class TracedConnection(wrapt.ObjectProxy):  # type: ignore[misc]
    """A connection as ddtrace has it."""

    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        """Give a traced cursor."""
        return TracedCursor(self.__wrapped__.cursor(*args, **kwargs))


seen: list[str] = []


def works(app: Application, database: Database) -> None:
    """Read, write and read in three requests."""

    def write() -> str:
        app.session.add(app.Item(name="three"))
        app.session.commit()
        return "stored"

    def read() -> list[str]:
        return list(app.session.scalars(select(app.Item.name).order_by(app.Item.id)))

    assert app.json(read) == ["one", "two"]
    assert app.json(write, "POST") == "stored"
    assert app.json(read) == ["one", "two", "three"]
    assert database.names() == ["one", "two", "three"]


def by_class(database: Database) -> Any:
    """Connect with a class of the application's own."""
    url = make_url(database.url)
    place: dict[str, Any] = {"host": url.host, "port": url.port, "user": url.username}
    place["password"] = url.password
    if database.family == "postgresql":
        return OwnPsycopg.connect(dbname=url.database, **place)
    return OwnPyMySQL(database=url.database, **place)


CREATORS: dict[str, Callable[[Database], Any]] = {
    "function": lambda database: database.connect(),
    "class": by_class,
    "traced": lambda database: TracedConnection(database.connect()),
}


@on("postgresql", "mariadb")
@pytest.mark.parametrize("how", CREATORS)
def test_creator(make: Make, database: Database, how: str) -> None:
    """The connection of an application's creator is the one that it works with."""
    made: list[Any] = []

    def create() -> Any:
        made.append(CREATORS[how](database))
        return made[-1]

    app = make(SQLALCHEMY_ENGINE_OPTIONS={"creator": create})
    works(app, database)
    with app.engine.connect() as connection:
        assert any(connection.connection.driver_connection is one for one in made)


@on("mariadb", "sqlite")
def test_creator_that_wraps(make: Make, database: Database) -> None:
    """A class that is no driver's and forwards everything is enough, as it was."""

    def create() -> Any:
        changes = {"check_same_thread": False} if database.family == "sqlite" else {}
        return Forwarding(database.connect(**changes))

    works(make(SQLALCHEMY_ENGINE_OPTIONS={"creator": create}), database)


@on("postgresql", "mariadb", "sqlite")
def test_creator_that_fails_raises_its_own_error(make: Make) -> None:
    """What a connector of the application raises comes out as it was raised."""

    def create() -> Any:
        raise LookupError("no address")

    app = make(SQLALCHEMY_ENGINE_OPTIONS={"creator": create})
    with pytest.raises(LookupError, match="no address"):
        app.ask(lambda: str(app.session.scalar(text("SELECT 1"))))


@pytest.mark.parametrize("where", ["engine", "class"])
@pytest.mark.parametrize("how", ["parameters", "connection"])
@on("postgresql", "mariadb")
def test_do_connect(make: Make, database: Database, undo: Any, where: str, how: str) -> None:
    """A listener that brings a fresh password, or a connection, is called for each connection."""
    url = make_url(database.url)
    calls: list[str] = []

    def connect(dialect: Any, record: Any, cargs: Any, cparams: Any) -> Any:
        calls.append(cparams["password"])
        cparams["password"] = url.password
        if how == "connection":
            return dialect.loaded_dbapi.connect(*cargs, **cparams)
        return None

    if where == "class":
        event.listen(Engine, "do_connect", connect)
        undo(lambda: event.remove(Engine, "do_connect", connect))
    app = make(url=url.set(password="stale").render_as_string(hide_password=False))
    if where == "engine":
        event.listen(app.engine, "do_connect", connect)
    works(app, database)
    assert set(calls) == {"stale"}
    assert len(calls) == database.connections()


@pytest.mark.parametrize("target", [AnyPool, Engine, "engine"])
def test_pool_events(app: Application, undo: Any, target: Any) -> None:
    """Listeners of a pool's events hear of each connection once, whatever they listen to."""
    heard: list[str] = []
    place = app.engine if target == "engine" else target
    for name in ("first_connect", "connect", "checkout", "checkin"):

        def listener(*args: Any, name: str = name) -> None:
            heard.append(name)

        event.listen(place, name, listener)
        undo(lambda name=name, listener=listener: event.remove(place, name, listener))
    fresh = app if target == "engine" else None
    if fresh is None:
        app.dispose()
    app.ask(lambda: str(app.session.scalar(text("SELECT 1"))), times=2)
    assert heard.count("connect") == 1
    assert (heard.count("checkout"), heard.count("checkin")) == (2, 2)


def test_connect_listener_sets_what_reads_find(app: Application, family: str) -> None:
    """What a listener sets on a new connection holds in every request."""
    statements = {
        "postgresql": ("SET TIME ZONE 'Asia/Tokyo'", "SHOW TimeZone", "Asia/Tokyo"),
        "mariadb": ("SET time_zone = '+09:00'", "SELECT @@time_zone", "+09:00"),
        "sqlite": ("PRAGMA cache_size = 77", "PRAGMA cache_size", 77),
    }
    change, question, expected = statements[family]

    @event.listens_for(app.engine, "connect")
    def prepare(connection: Any, record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(change)
        cursor.close()
        connection.commit()

    for method in ("GET", "POST"):
        assert app.json(lambda: app.session.scalar(text(question)), method) == expected


# options, and what the engine must then be or the database say
ENGINE_OPTIONS: dict[str, tuple[dict[str, Any], Callable[[Engine], Any] | None]] = {
    "null_pool": ({"poolclass": NullPool}, lambda engine: type(engine.pool) is NullPool),
    "queue_pool": (
        {"poolclass": QueuePool, "pool_size": 3, "max_overflow": 1},
        lambda engine: isinstance(engine.pool, QueuePool) and engine.pool.size() == 3,
    ),
    "pre_ping": ({"pool_pre_ping": True}, lambda engine: engine.pool._pre_ping),
    "reset_none": ({"pool_reset_on_return": None}, None),
    "reset_commit": ({"pool_reset_on_return": "commit"}, None),
    "lifo": ({"pool_use_lifo": True}, None),
    "echo": ({"echo": True, "hide_parameters": True}, lambda engine: engine.echo),
    "echo_pool": ({"echo_pool": True}, None),
    "names": (
        {"logging_name": "mine", "pool_logging_name": "pool"},
        lambda engine: engine.logging_name == "mine" and engine.pool.logging_name == "pool",
    ),
    "execution_options": (
        {"execution_options": {"mark": 7}},
        lambda engine: engine.get_execution_options()["mark"] == 7,
    ),
    "no_cache": ({"query_cache_size": 0}, lambda engine: engine._compiled_cache is None),
    "label_length": ({"label_length": 20}, lambda engine: engine.dialect.label_length == 20),
    "autocommit": ({"isolation_level": "AUTOCOMMIT"}, None),
    "serializable": ({"isolation_level": "SERIALIZABLE"}, None),
    "skip_rollback": ({"skip_autocommit_rollback": True}, None),
    "insert_pages": ({"insertmanyvalues_page_size": 2}, None),
}


@pytest.mark.parametrize("name", ENGINE_OPTIONS)
def test_engine_options(make: Make, database: Database, name: str) -> None:
    """What an application sets for its engine is what the engine has, and works."""
    options, holds = ENGINE_OPTIONS[name]
    app = make(SQLALCHEMY_ENGINE_OPTIONS=options)
    works(app, database)
    assert holds is None or holds(app.engine)
    assert app.flask.config["SQLALCHEMY_ENGINE_OPTIONS"] is options


def test_options_of_the_extension(make: Make, database: Database) -> None:
    """Options that the extension was made with hold, those of the config before them."""
    from .applications import extension  # noqa: PLC0415

    db = extension(engine_options={"pool_size": 4, "logging_name": "theirs"})
    app = make(db=db, SQLALCHEMY_ENGINE_OPTIONS={"logging_name": "mine"})
    works(app, database)
    assert app.engine.logging_name == "mine"
    assert app.engine.pool.size() == 4  # type: ignore[attr-defined]


@on("postgresql")
@pytest.mark.parametrize("place", ["argument", "url"])
def test_options_of_libpq(make: Make, database: Database, side: str, place: str) -> None:
    """The application's options and the pool's hold together."""
    given = "-c search_path=app -c work_mem=5MB"
    changes: dict[str, Any] = {"SQLALCHEMY_STATEMENT_TIMEOUT": 7}
    if place == "url":
        url = make_url(database.url).update_query_dict({"options": given})
        changes["url"] = url.render_as_string(hide_password=False)
    else:
        changes["SQLALCHEMY_ENGINE_OPTIONS"] = {"connect_args": {"options": given}}
    app = make(**changes)
    names = ("search_path", "work_mem", "statement_timeout")
    found = app.json(lambda: [app.session.scalar(text(f"SHOW {name}")) for name in names])
    assert found == ["app", "5MB", "7s" if side == POOL else "0"]


def test_url_object_stays_one(make: Make, database: Database) -> None:
    """A URL that was given as an object is one afterwards."""
    url = make_url(database.url)
    app = make(url=url)
    works(app, database)
    assert app.flask.config["SQLALCHEMY_DATABASE_URI"] is url


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("bind", ["duckdb:///:memory:", "mssql+pymssql://nobody:x@127.0.0.1:9/x"])
@on("sqlite")
def test_binds_of_other_databases(make: Make, database: Database, bind: str) -> None:
    """A bind to a database that the pool does not know is left as it is."""
    pytest.importorskip("duckdb_engine" if "duckdb" in bind else "pymssql")
    app = make(SQLALCHEMY_BINDS={"other": bind})
    works(app, database)
    if bind.startswith("duckdb"):

        def other() -> Any:
            with app.db.engines["other"].connect() as connection:
                return connection.scalar(text("SELECT 42"))

        assert app.json(other) == 42


@on("postgresql", "mariadb")
def test_wrong_password_is_an_operational_error(make: Make, database: Database) -> None:
    """A server that refuses is the error that it was, to a view that catches it."""
    url = make_url(database.url).set(password="wrong")
    app = make(url=url.render_as_string(hide_password=False))

    def view() -> str:
        try:
            app.session.scalar(text("SELECT 1"))
        except OperationalError as error:
            return type(error.orig).__name__
        return "connected"

    assert app.json(view) == "OperationalError"


@on("sqlite")
def test_sqlite_type_parsing(make: Make, tmp_path: Any) -> None:
    """What a driver's own argument asks for is done."""
    kinds = sqlite3.PARSE_DECLTYPES | sqlite3.PARSE_COLNAMES
    options = {"connect_args": {"detect_types": kinds}}
    app = make(url=f"sqlite:///{tmp_path / 'types.db'}", SQLALCHEMY_ENGINE_OPTIONS=options)
    question = "SELECT '2026-01-02' AS \"d [date]\""

    def view() -> str:
        return type(app.session.connection().exec_driver_sql(question).scalar()).__name__

    assert app.json(view) == "date"


def test_checkout_listener_that_refuses(app: Application, database: Database) -> None:
    """A listener that says that a connection is of no use has it replaced."""
    refused: list[Any] = []
    given: list[Any] = []

    @event.listens_for(app.engine, "checkout")
    def refuse(connection: Any, record: Any, proxy: Any) -> None:
        if not refused:
            refused.append(connection)
            raise DisconnectionError("another one")
        given.append(connection)

    works(app, database)
    assert len(given) == 3
    assert refused[0] not in given


# what is left open belongs to the parent of a fork
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("poolclass", [NullPool, QueuePool, StaticPool])
@on("postgresql", "mariadb")
def test_dispose_by_the_application(make: Make, database: Database, poolclass: Any) -> None:
    """An application that disposes of its engine, as after a fork, goes on."""
    app = make(SQLALCHEMY_ENGINE_OPTIONS={"poolclass": poolclass})
    for close in (True, False):
        database.run("DELETE FROM item WHERE id > 2")
        works(app, database)
        app.engine.dispose(close=close)
