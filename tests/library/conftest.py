"""Small applications on the library itself, on each of the three databases."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient, FlaskCliRunner
from flask_pool import FairQueuePool, Pool
from flask_pool.connections import Socket, ask_socket
from flask_pool.observer import Observer
from flask_sqlalchemy import SQLAlchemy
from servers import MariaDB, PostgreSQL, Proxy, wait_until
from sqlalchemy import BigInteger, ForeignKey, Integer, String, select, text
from sqlalchemy.engine import Engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from werkzeug.test import TestResponse

LONG = 30  # seconds: a test that waits for as long has failed

FIRST = 1001  # the id of the first row that `store` makes; a sequence does not reach it

ONE: dict[str, Any] = {"SQLALCHEMY_POOL_SIZE": 1, "SQLALCHEMY_MAX_OVERFLOW": 0}  # connection

Make = Callable[..., Flask]
OpenProxy = Callable[[int], Proxy]


class Base(DeclarativeBase):
    """The base of these tests' tables."""


db = SQLAlchemy(model_class=Base)
Key = BigInteger().with_variant(Integer, "sqlite")


class Item(db.Model):  # type: ignore[name-defined, misc]
    """A row that tests write and read."""

    __tablename__ = "pool_items"

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    parts: Mapped[list[Part]] = relationship(back_populates="item", order_by="Part.id")


class Part(db.Model):  # type: ignore[name-defined, misc]
    """A row that belongs to another."""

    __tablename__ = "pool_parts"

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey(Item.id))
    item: Mapped[Item] = relationship(back_populates="parts")


@dataclass
class Database:
    """A database of this process's tests, and the server that it is on."""

    kind: str
    name: str
    server: Any = None

    def url(self, port: int | None = None) -> str:
        """Give its URL, through another port if there is a proxy."""
        if self.server is None:
            return f"sqlite:///{self.name}"
        return str(self.server.url(self.name, port))

    def rows(self, statement: str) -> list[dict[str, Any]]:
        """Run one statement as an administrator, outside of all pools."""
        found: list[dict[str, Any]] = self.server.rows(statement, (), self.name)
        return found

    def kill(self, app: Flask) -> None:
        """Close every connection of an application's pools from the server's side."""
        found: list[Any] = [
            entry.dbapi_connection
            for engine in app.extensions["pool"].engines.values()
            if isinstance(engine.pool, FairQueuePool)
            for entry in engine.pool._entries
            if entry.dbapi_connection is not None
        ]
        if self.server is None:
            for connection in found:
                connection.close()
            return
        self.server.kill_backends(self.name)
        wait_until(lambda: all(map(is_dead, found)), LONG, 0.005)


def is_dead(connection: Any) -> bool:
    """Tell whether a driver's connection has lost its server."""
    return connection is None or ask_socket(connection) is Socket.DEAD


def kinds(*names: str) -> list[Any]:
    """Give the parameters of these databases."""
    return [
        name if name == "sqlite" else pytest.param(name, marks=pytest.mark.needs(name))
        for name in names
    ]


def on(*names: str) -> pytest.MarkDecorator:
    """Run a test on these databases only."""
    return pytest.mark.parametrize("database", kinds(*names), indirect=True)


# what is no driver's own is shown on two; the third is left to make check
ALL = [
    *kinds("sqlite", "postgresql"),
    pytest.param("mariadb", marks=[pytest.mark.needs("mariadb"), pytest.mark.repeat]),
]


@pytest.fixture(scope="session", params=ALL)
def database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Database]:
    """Give a database of each kind in turn."""
    if request.param == "sqlite":
        yield Database("sqlite", str(tmp_path_factory.mktemp("database") / "test.db"))
        return
    server: PostgreSQL | MariaDB = request.getfixturevalue(request.param)
    yield Database(request.param, server.create_database(), server)


@pytest.fixture(scope="session")
def database_url(database: Database) -> str:
    """Give the database's URL."""
    return database.url()


@pytest.fixture
def make_app(database: Database) -> Iterator[Make]:
    """Make an application; its connections are closed after the test.

    `/` runs what `run` and `answer` are given.
    """
    made: list[Flask] = []

    def make(url: str | None = None, **config: Any) -> Flask:
        app = Flask("pool_tests")
        app.config.update(TESTING=True, SQLALCHEMY_DATABASE_URI=url or database.url())
        app.config.update(SQLALCHEMY_POOL_SIZE=2, SQLALCHEMY_MAX_OVERFLOW=1)
        # a busy machine must not turn into pings
        app.config.update(SQLALCHEMY_POOL_PING_AFTER=600, OPS_TOKEN="operator")
        app.config.update(config)
        Pool(app, db)
        app.add_url_rule("/", view_func=lambda: VIEWS[app](), methods=["GET", "POST", "OPTIONS"])
        made.append(app)
        return app

    yield make
    for app in made:
        VIEWS.pop(app, None)
        for engine in app.extensions["pool"].engines.values():
            engine.dispose()


VIEWS: dict[Flask, Callable[[], Any]] = {}


def answer(app: Flask, view: Callable[[], object], method: str = "GET") -> TestResponse:
    """Have an application answer one request with a view; what is no text becomes one."""

    def shown() -> Any:
        returned = view()
        return "" if returned is None else returned

    VIEWS[app] = shown
    return app.test_client().open("/", method=method)


def run(app: Flask, view: Callable[[], object], method: str = "GET") -> Any:
    """Have an application run a view in one request, and give what it returned."""
    returned: list[object] = []

    def noting() -> str:
        returned.append(view())
        return ""

    response = answer(app, noting, method)
    assert response.status_code == 200, response.text
    (found,) = returned  # a view is never run twice
    return found


@pytest.fixture
def tables(database: Database) -> None:
    """Have the tests' tables there, and empty."""
    app = Flask("tables")
    app.config["SQLALCHEMY_DATABASE_URI"] = database.url()
    own = SQLAlchemy(metadata=db.metadata)
    own.init_app(app)
    with app.app_context():
        own.create_all()
        with own.engine.begin() as connection:
            connection.execute(text("DELETE FROM pool_parts"))
            connection.execute(text("DELETE FROM pool_items"))
        own.engine.dispose()


@pytest.fixture
def app(make_app: Make, tables: None) -> Iterator[Flask]:
    """An application with a pool of two connections and one more, and empty tables."""
    app = make_app()
    yield app
    with app.app_context():
        db.session.remove()


@pytest.fixture
def single(make_app: Make, tables: None) -> Flask:
    """An application whose requests share one connection."""
    return make_app(**ONE)


@pytest.fixture
def engine(app: Flask) -> Any:
    """The application's engine."""
    return engine_of(app)


def engine_of(app: Flask) -> Any:
    """Give an application's engine."""
    return app.extensions["pool"].engines["default"]


def ask() -> str:
    """Have the database say 1: the simplest view."""
    return str(db.session.scalar(text("SELECT 1")))


def names() -> list[str]:
    """Give the names of all items, as the session sees them."""
    return list(db.session.scalars(select(Item.name).order_by(Item.id)))


# ways in which a checkout ends


def invalidate(engine: Engine) -> None:
    """Give back a connection that is of no use any more."""
    with engine.connect() as connection:
        connection.invalidate()


def detach(engine: Engine) -> None:
    """Take a connection out of the pool for good."""
    with engine.connect() as connection:
        connection.detach()


def fail(engine: Engine) -> None:
    """Meet an error of the program's own."""
    with pytest.raises(ZeroDivisionError), engine.connect():
        raise ZeroDivisionError


def forget(engine: Engine) -> None:
    """Lose a connection."""
    engine.connect()
    gc.collect(0)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A client of the application."""
    return app.test_client()


@pytest.fixture
def runner(app: Flask) -> FlaskCliRunner:
    """A command line of the application."""
    return app.test_cli_runner()


class Seen(Observer):
    """Notes what the pool tells."""

    def __init__(self, app: Flask) -> None:
        self.reasons: list[str] = []
        self.replacements: list[str] = []
        self.leaks: list[str] = []
        self.routes: list[str] = []
        self.retries = 0
        pools = app.extensions["pool"]
        pools.observers.append(self)
        for engine in pools.engines.values():
            if isinstance(engine.pool, FairQueuePool):
                engine.pool.observers.append(self)

    def unavailable(self, reason: str) -> None:
        self.reasons.append(reason)

    def replaced(self, pool: Any, reason: str) -> None:
        self.replacements.append(reason)

    def leaked(self, pool: Any, taker: str) -> None:
        self.leaks.append(taker)

    def held(self, pool: Any, route: str) -> None:
        self.routes.append(route)

    def retried(self) -> None:
        self.retries += 1


def store(app: Flask, *names: str) -> None:
    """Put items into the table, each with a part of the same id; the first has the id FIRST."""
    with app.app_context():
        for number, name in enumerate(names, FIRST):
            db.session.add(Item(id=number, name=name, parts=[Part(id=number)]))
        db.session.commit()
        db.session.remove()


def stored(app: Flask) -> list[str]:
    """Give the names in the table, in order."""
    with app.app_context(), db.engine.connect() as connection:
        return list(connection.scalars(text("SELECT name FROM pool_items ORDER BY id")))


def drivers(app: Flask) -> list[Any]:
    """Give the driver's connections that are in use, without asking the session for them."""
    return [entry.dbapi_connection for entry, _ in engine_of(app).pool.out()]


def begun(app: Flask) -> bool:
    """Tell whether a transaction is open on the one connection that is in use."""
    (driver,) = drivers(app)
    if hasattr(driver, "pgconn"):
        return bool(driver.pgconn.transaction_status)
    if hasattr(driver, "server_status"):
        with driver.cursor() as cursor:
            cursor.execute("SELECT @@in_transaction")
            return bool(cursor.fetchone()[0])
    return bool(driver.in_transaction)
