"""What psycopg can do, reached through SQLAlchemy: all of it as on the plain application."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from sqlalchemy import Column, Enum, Integer, MetaData, Table, event, select, text
from sqlalchemy.exc import DBAPIError

from .applications import Application
from .conftest import Make
from .databases import Database, on

pytestmark = on("postgresql")

EITHER_WAY = pytest.mark.parametrize("method", ["GET", "POST"])


def driver(app: Application) -> Any:
    """Give the driver's connection of the session."""
    return app.session.connection().connection.driver_connection


class Shouting(psycopg.adapt.Loader):
    """A loader of text of the application's own."""

    def load(self, data: Any) -> str:
        """Load in upper case."""
        return bytes(data).decode().upper()


def shout(connection: Any) -> None:
    """Have text come in upper case."""
    for name in ("text", "varchar"):
        connection.adapters.register_loader(name, Shouting)


def prepare_at_once(connection: Any) -> None:
    """Have statements prepared at their first use."""
    connection.prepare_threshold = 0


def count_cursor(connection: Any) -> None:
    """Use a cursor class of the application's own."""
    connection.cursor_factory = psycopg.ClientCursor


SETTERS = {"adapters": shout, "prepare": prepare_at_once, "cursor": count_cursor}


@EITHER_WAY
@pytest.mark.parametrize("name", SETTERS)
def test_set_on_each_connection(app: Application, name: str, method: str) -> None:
    """What a listener sets on a connection holds for reads and is still set afterwards."""
    event.listen(app.engine, "connect", lambda connection, _: SETTERS[name](connection))

    def view() -> Any:
        names = app.session.scalars(select(app.Item.name).order_by(app.Item.id)).all()
        raw = driver(app)
        return [names, raw.prepare_threshold, raw.cursor_factory.__name__]

    expected = {
        "adapters": [["ONE", "TWO"], 5, "Cursor"],
        "prepare": [["one", "two"], 0, "Cursor"],
        "cursor": [["one", "two"], 5, "ClientCursor"],
    }
    for _ in range(2):
        assert app.json(view, method) == expected[name]


@pytest.mark.parametrize(
    "arguments",
    [
        {"prepare_threshold": None},
        {"cursor_factory": psycopg.ClientCursor},
        {"application_name": "mine"},
        {"keepalives_idle": 11},
        {"sslmode": "disable"},
    ],
    ids=str,
)
def test_connect_arguments(make: Make, database: Database, arguments: dict[str, Any]) -> None:
    """Arguments of the driver arrive."""
    app = make(SQLALCHEMY_ENGINE_OPTIONS={"connect_args": dict(arguments)})

    def view() -> Any:
        raw = driver(app)
        found = {
            "prepare_threshold": raw.prepare_threshold,
            "cursor_factory": raw.cursor_factory,
            **raw.info.get_parameters(),
        }
        return [
            name for name, value in arguments.items() if found.get(name) not in (value, str(value))
        ]

    assert app.json(view) == []


@pytest.mark.parametrize("how", ["raw", "detached", "autocommit"])
def test_listen_through_a_long_silence(make: Make, database: Database, how: str) -> None:
    """A connection that listens hears what comes after silence beyond every limit."""
    app = make(SQLALCHEMY_STATEMENT_TIMEOUT=0.5, SQLALCHEMY_CONNECT_TIMEOUT=1)
    silence = 2.5

    def listen() -> Any:
        if how == "raw":
            kept: Any = app.db.engine.raw_connection()
            raw = kept.driver_connection
        else:
            kept = app.db.engine.connect()
            if how == "autocommit":
                kept = kept.execution_options(isolation_level="AUTOCOMMIT")
            raw = kept.connection.driver_connection
            if how == "detached":
                kept.detach()
        raw.autocommit = True
        raw.execute("LISTEN news")
        started = time.monotonic()
        found = [list(raw.notifies(timeout=silence)), time.monotonic() - started >= silence]
        database.run("NOTIFY news, 'late'")
        found.append([one.payload for one in raw.notifies(timeout=5, stop_after=1)])
        if how == "autocommit":
            raw.execute("UNLISTEN *")
        kept.close()
        return found

    assert app.json(listen) == [[], True, ["late"]]


def test_pool_of_its_own_for_listening(make: Make, database: Database) -> None:
    """A connection of the driver alone, made with the engine's own arguments, works on."""
    app = make()
    arguments = app.engine.dialect.create_connect_args(app.engine.url)
    with psycopg.connect(**arguments[1], autocommit=True) as connection:
        assert connection.execute("SELECT count(*) FROM item").fetchone() == (2,)


SETTINGS_AFTER_A_READ = (
    "BEGIN ISOLATION LEVEL SERIALIZABLE",
    "START TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "SET transaction_isolation = 'serializable'",
    "/* late */ SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
)


@pytest.mark.parametrize("statement", SETTINGS_AFTER_A_READ)
def test_a_level_comes_too_late_after_a_read(app: Application, statement: str) -> None:
    """However it is spelled, the server refuses it after a query."""

    def view() -> str:
        app.session.get(app.Item, 1)
        try:
            app.session.execute(text(statement))
        except DBAPIError as error:
            return str(getattr(error.orig, "sqlstate", None))
        return "accepted"

    assert app.ask(view).text == "25001"


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("how", ["connect_args", "set"])
def test_a_connection_that_is_read_only_by_its_own_setting(
    make: Make, how: str, method: str
) -> None:
    """A refused write is the view's matter: the connection stays, with all that it has."""
    options = {"connect_args": {"options": "-c default_transaction_read_only=on"}}
    app = make(SQLALCHEMY_ENGINE_OPTIONS=options if how == "connect_args" else {})

    def view() -> Any:
        if how == "set":
            app.session.execute(text("SET default_transaction_read_only = on"))
            app.session.commit()
        app.session.execute(text("SET LOCAL work_mem = '5MB'"))
        with contextlib.suppress(DBAPIError), app.session.begin_nested():
            app.session.execute(text("INSERT INTO item (name) VALUES ('refused')"))
        return app.session.scalar(text("SHOW work_mem"))

    assert app.json(view, method) == "5MB"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_type_that_is_made_anew(app: Application, database: Database, method: str) -> None:
    """What was prepared with the old one fails no request."""
    database.run("CREATE TYPE mood AS ENUM ('a', 'b')", "CREATE TABLE job (id INT, state mood)")
    jobs = Table("job", MetaData(), Column("id", Integer), Column("state", Enum("a", name="mood")))

    def view() -> Any:
        return list(app.session.scalars(select(jobs.c.id).where(jobs.c.state == "a")))

    for _ in range(8):
        assert app.json(view, method) == []
    database.run(
        "ALTER TABLE job ALTER state TYPE text",
        "DROP TYPE mood",
        "CREATE TYPE mood AS ENUM ('a', 'b', 'c')",
        "ALTER TABLE job ALTER state TYPE mood USING state::mood",
    )
    assert app.json(view, method) == []
    database.run("DROP TABLE job", "DROP TYPE mood")


def test_a_transaction_that_is_kept_over_requests(make: Make) -> None:
    """With pool_reset_on_return=None it lasts, however long the connection was idle."""
    options = {"pool_reset_on_return": None, "pool_size": 1, "max_overflow": 0}
    app = make(SQLALCHEMY_ENGINE_OPTIONS=options, SQLALCHEMY_POOL_PING_AFTER=0.01)

    def use(statement: str) -> Callable[[], str]:
        def view() -> str:
            connection = app.db.engine.raw_connection()
            connection.cursor().execute(statement)
            connection.close()
            return "done"

        return view

    assert app.ask(use("CREATE TEMP TABLE wizard (x INT)"), "POST").text == "done"
    time.sleep(0.1)
    assert app.ask(use("SELECT count(*) FROM wizard")).text == "done"
