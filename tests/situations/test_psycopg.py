"""What psycopg can do, reached through SQLAlchemy: all of it as on the plain application."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from sqlalchemy import Column, Enum, Integer, MetaData, Table, event, insert, select, text
from sqlalchemy.exc import DBAPIError, ResourceClosedError

from .applications import Application
from .conftest import Make
from .databases import Database, on

pytestmark = on("postgresql")

EITHER_WAY = pytest.mark.parametrize("method", ["GET", "POST"])


def driver(app: Application) -> Any:
    """Give the driver's connection of the session."""
    return app.session.connection().connection.driver_connection


def copy_out(app: Application) -> Any:
    """COPY TO through the session's own connection."""
    with driver(app).cursor().copy("COPY (SELECT name FROM item ORDER BY id) TO STDOUT") as copy:
        return [row[0] for row in copy.rows()]


def copy_in(app: Application) -> Any:
    """COPY FROM, and look in the same transaction."""
    with driver(app).cursor().copy("COPY item (name) FROM STDIN") as copy:
        copy.write_row(("copied",))
    return list(app.session.scalars(select(app.Item.name).order_by(app.Item.id)))


def dict_rows(app: Application) -> Any:
    """Rows of another shape, from a cursor of the view's own."""
    with driver(app).cursor(row_factory=dict_row) as cursor:
        return cursor.execute("SELECT name FROM item ORDER BY id").fetchall()


def notices(app: Application) -> Any:
    """Notices that a statement raises."""
    heard: list[str] = []
    driver(app).add_notice_handler(lambda notice: heard.append(notice.message_primary))
    app.session.execute(text("DO $$ BEGIN RAISE NOTICE 'look'; END $$"))
    return heard


def pipeline(app: Application) -> Any:
    """Writes in a pipeline, and a read after it."""
    with driver(app).pipeline():
        app.session.execute(text("UPDATE item SET value = 1"))
        app.session.execute(text("INSERT INTO item (name) VALUES ('three')"))
    return list(app.session.scalars(select(app.Item.name).order_by(app.Item.id)))


def read_in_a_pipeline(app: Application) -> Any:
    """A read in a pipeline, whose rows SQLAlchemy does not wait for."""
    with driver(app).pipeline():
        try:
            return app.session.scalar(text("SELECT 1"))
        except ResourceClosedError as error:
            return type(error).__name__


def yield_per(app: Application) -> Any:
    """A server-side cursor, with other reads while it is open."""
    query = select(app.Item).order_by(app.Item.id).execution_options(yield_per=1)
    return [
        [item.name, app.session.scalar(text("SELECT 7")), len(item.children)]
        for item in app.session.scalars(query)
    ]


def read_then_stream(app: Application) -> Any:
    """A read, and then a server-side cursor."""
    app.session.scalar(text("SELECT 1"))
    options = {"stream_results": True, "max_row_buffer": 1}
    found = app.session.execute(text("SELECT generate_series(1, 5)"), execution_options=options)
    return [list(part) for part in found.scalars().partitions(2)]


def named_cursor(app: Application) -> Any:
    """A cursor of the driver's own on the server."""
    with driver(app).cursor("mine") as cursor:
        cursor.execute("SELECT name FROM item ORDER BY id")
        return [row[0] for row in cursor]


def cursor_by_sql(app: Application) -> Any:
    """DECLARE and FETCH, which need one transaction."""
    app.session.execute(text("DECLARE c CURSOR FOR SELECT name FROM item ORDER BY id"))
    return [app.session.scalar(text("FETCH 1 FROM c")) for _ in range(2)]


def transaction_time(app: Application) -> Any:
    """The time of the transaction, which stands still."""
    times = {app.session.scalar(text("SELECT now()")) for _ in range(3)}
    return len(times)


def transaction_number(app: Application) -> Any:
    """The number of the transaction, one for all its statements."""
    numbers = {app.session.scalar(text("SELECT pg_current_xact_id()::text")) for _ in range(3)}
    return len(numbers)


def advisory_xact_lock(app: Application) -> Any:
    """A lock until the transaction's end."""
    app.session.scalar(text("SELECT pg_advisory_xact_lock(5)"))
    return app.session.scalar(
        text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 5")
    )


def snapshot(app: Application) -> Any:
    """An exported snapshot, which lives as long as its transaction."""
    name = app.session.scalar(text("SELECT pg_export_snapshot()"))
    return [bool(name), app.session.scalar(text("SELECT count(*) FROM item"))]


def set_local(app: Application) -> Any:
    """A setting for the rest of the transaction."""
    app.session.scalar(text("SELECT set_config('app.user', 'ann', true)"))
    return app.session.scalar(text("SELECT current_setting('app.user')"))


def info_of_transaction(app: Application) -> Any:
    """The state that the driver tells while the view is in the midst."""
    app.session.connection().exec_driver_sql("SELECT 1")
    return driver(app).info.transaction_status.name


def autocommit_attribute(app: Application) -> Any:
    """The driver's autocommit, as a view sees it after a read."""
    app.session.scalar(text("SELECT 1"))
    return driver(app).autocommit


def autocommit_switched_by_hand(app: Application) -> Any:
    """A connection that the view switches itself commits each statement."""
    with app.db.engine.connect() as connection:
        raw = connection.connection.driver_connection
        raw.autocommit = True  # type: ignore[union-attr]
        raw.execute("INSERT INTO item (name) VALUES ('alone')")  # type: ignore[union-attr]
        raw.autocommit = False  # type: ignore[union-attr]
    return app.session.scalar(text("SELECT count(*) FROM item"))


WORK: dict[str, tuple[Callable[[Application], Any], Any]] = {
    "copy_out": (copy_out, ["one", "two"]),
    "copy_in": (copy_in, ["one", "two", "copied"]),
    "dict_rows": (dict_rows, [{"name": "one"}, {"name": "two"}]),
    "notices": (notices, ["look"]),
    "pipeline": (pipeline, ["one", "two", "three"]),
    "read_in_a_pipeline": (read_in_a_pipeline, "ResourceClosedError"),
    "yield_per": (yield_per, [["one", 7, 2], ["two", 7, 0]]),
    "read_then_stream": (read_then_stream, [[1, 2], [3, 4], [5]]),
    "named_cursor": (named_cursor, ["one", "two"]),
    "cursor_by_sql": (cursor_by_sql, ["one", "two"]),
    "transaction_time": (transaction_time, 1),
    "transaction_number": (transaction_number, 1),
    "advisory_xact_lock": (advisory_xact_lock, 1),
    "snapshot": (snapshot, [True, 2]),
    "set_local": (set_local, "ann"),
    "info_of_transaction": (info_of_transaction, "INTRANS"),
    "autocommit_attribute": (autocommit_attribute, False),
    "autocommit_switched_by_hand": (autocommit_switched_by_hand, 3),
}
STORED = {"autocommit_switched_by_hand": ["one", "two", "alone"]}


@EITHER_WAY
@pytest.mark.parametrize("name", WORK)
def test_work(app: Application, database: Database, name: str, method: str) -> None:
    """What the driver can do gives what it gives, and is not stored without a commit."""
    view, expected = WORK[name]
    assert app.json(lambda: view(app), method) == expected
    assert database.names() == STORED.get(name, ["one", "two"])


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


@EITHER_WAY
def test_autocommit_of_the_driver(make: Make, database: Database, method: str) -> None:
    """With autocommit in connect_args what a view writes is stored without a commit."""
    app = make(SQLALCHEMY_ENGINE_OPTIONS={"connect_args": {"autocommit": True}})

    def view() -> Any:
        app.session.scalars(select(app.Item)).all()
        app.session.execute(insert(app.Item).values(name="three"))
        return driver(app).autocommit

    assert app.json(view, method) is True
    assert database.names() == ["one", "two", "three"]


@EITHER_WAY
@pytest.mark.parametrize("place", ["engine", "connection", "session"])
def test_autocommit_of_sqlalchemy(make: Make, database: Database, place: str, method: str) -> None:
    """AUTOCOMMIT of an engine, of a connection and of a session stores each statement."""
    options = {"isolation_level": "AUTOCOMMIT"}
    app = make(SQLALCHEMY_ENGINE_OPTIONS=options if place == "engine" else {})
    row = insert(app.Item).values(name="three")

    def view() -> Any:
        if place == "connection":
            with app.db.engine.connect().execution_options(**options) as connection:
                connection.execute(row)
                return connection.scalar(text("SELECT count(*) FROM item"))
        if place == "session":
            app.session.connection(execution_options=options)
        app.session.execute(row)
        return app.session.scalar(text("SELECT count(*) FROM item"))

    assert app.json(view, method) == 3
    assert database.names() == ["one", "two", "three"]
    # who comes next has transactions
    if place != "engine":
        app.json(lambda: app.session.execute(insert(app.Item).values(name="four")).rowcount, method)
        assert database.names() == ["one", "two", "three"]


@EITHER_WAY
@pytest.mark.parametrize("place", ["engine", "connection", "session", "options"])
def test_repeatable_read(make: Make, database: Database, place: str, method: str) -> None:
    """A level that was asked for holds for every read: what a rival commits is not seen."""
    level = {"isolation_level": "REPEATABLE READ"}
    options = {"engine": level, "options": {"execution_options": level}}
    app = make(SQLALCHEMY_ENGINE_OPTIONS=options.get(place, {}))
    count = text("SELECT count(*) FROM item")

    def view() -> Any:
        session = app.session
        if place == "session":
            session.connection(execution_options=level)
        if place == "connection":
            with app.db.engine.connect().execution_options(**level) as connection:
                first = connection.scalar(count)
                database.run("INSERT INTO item (name) VALUES ('rival')")
                return [first, connection.scalar(count)]
        first = session.scalar(count)
        database.run("INSERT INTO item (name) VALUES ('rival')")
        return [first, session.scalar(count)]

    assert app.json(view, method) == [2, 2]


@EITHER_WAY
def test_database_level(make: Make, database: Database, method: str, undo: Any) -> None:
    """A level that the database itself has holds for every read too."""
    alter = "ALTER DATABASE situations {} default_transaction_isolation"
    database.run(alter.format("SET") + " = 'repeatable read'")
    undo(lambda: database.run(alter.format("RESET")))
    app = make()
    count = text("SELECT count(*) FROM item")

    def view() -> Any:
        first = app.session.scalar(count)
        database.run("INSERT INTO item (name) VALUES ('rival')")
        return [first, app.session.scalar(count)]

    assert app.json(view, method) == [2, 2]


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


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_report_raises_its_own_limit(make: Make, method: str) -> None:
    """SET LOCAL statement_timeout counts, beyond every limit of the pool."""
    app = make(SQLALCHEMY_STATEMENT_TIMEOUT=0.5, SQLALCHEMY_CONNECT_TIMEOUT=1)

    def view() -> Any:
        app.session.execute(text("SET LOCAL statement_timeout = '20s'"))
        return app.session.scalar(text("SELECT 1 FROM pg_sleep(2)"))

    assert app.json(view, method) == 1


def test_a_temporary_table_lives_with_its_connection(make: Make) -> None:
    """A temporary table, made with ON COMMIT DROP, is there for the transaction alone."""
    app = make()

    def view() -> Any:
        app.session.execute(text("CREATE TEMPORARY TABLE mine ON COMMIT DROP AS SELECT 1 AS a"))
        return app.session.scalar(text("SELECT a FROM mine"))

    assert app.json(view) == 1


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
