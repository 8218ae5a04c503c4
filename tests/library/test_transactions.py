"""When a transaction begins, and what views and other code see of it."""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, insert, literal, select, text
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from flask_pool import transactions
from flask_pool.transactions import Kind, read

from .conftest import Item, Make, db

Serve = Callable[..., Any]


@pytest.fixture
def serve(app: Flask) -> Serve:
    """Run a view once, by default with GET, and give what it returned."""

    def run(view: Callable[[], object], method: str = "GET") -> Any:
        returned: list[object] = []

        def noting() -> str:
            returned.append(view())
            return ""

        app.add_url_rule("/view", view_func=noting, methods=["GET", "POST"])
        app.test_client().open("/view", method=method)
        return returned[0]

    return run


def begun(connection: Connection | None = None) -> bool:
    """Tell whether a transaction is open on the session's connection, or on this one."""
    driver: Any = (connection or db.session.connection()).connection.dbapi_connection
    if hasattr(driver, "pgconn"):
        return bool(driver.pgconn.transaction_status)
    return bool(driver.in_transaction)


def count() -> int:
    return db.session.scalar(select(func.count()).select_from(Item)) or 0


def stored(app: Flask) -> int:
    with app.app_context():
        return count()


def is_sqlite() -> bool:
    return db.engine.dialect.name == "sqlite"


HARMLESS = [
    "SELECT 1",
    "SELECT i.id, i.name FROM items i WHERE i.id > %(after)s::BIGINT LIMIT %(n)s::INTEGER",
    'SELECT "user".name AS "user_name" FROM "user" WHERE "user".id IN (__[POSTCOMPILE_id_1])',
    "SELECT count(*) AS n, max(t.x) FROM t LEFT OUTER JOIN s ON s.id = t.s_id GROUP BY s.id",
    "(SELECT a FROM t) UNION ALL (SELECT b FROM s) ORDER BY 1",
    "WITH c AS (SELECT a FROM t WHERE a = ?) SELECT c.a FROM c WHERE EXISTS (SELECT 1 FROM s)",
    "SELECT name || ' (' || lower(town) || ')' FROM share WHERE share.name LIKE :x",
    "SELECT t.share, t.data ->> 'key', CAST(t.x AS VARCHAR(50)) FROM t WHERE (t.x %% 2) = 1",
    "SELECT row_number() OVER (PARTITION BY t.a ORDER BY t.b DESC) FROM `t` OFFSET %s",
]
DOUBTS = [
    "SELECT nextval('s')",
    "SELECT set_config('a.b', '1', true)",
    "SELECT pg_advisory_xact_lock(1)",
    "SELECT add_user('x')",
    "SELECT public.lower('x')",
    "SELECT \"lower\"('x')",
    "SELECT now(), current_timestamp",
    "SELECT CURRENT_DATE",
    "SELECT LOCALTIME",
    "SELECT a FROM t FOR UPDATE",
    "SELECT a FROM t LOCK IN SHARE MODE",
    "SELECT a INTO b FROM t",
    "SELECT a FROM t; DROP TABLE t",
    "SELECT 1 -- a comment",
    "SELECT /* a comment */ 1",
    "SELECT a @@ b FROM t",
    "SELECT a FROM t WHERE a OPERATOR(public.=) b",
    "SELECT @a := 1",
    "SELECT 'it\\'s', sleep(1)",
    "SELECT E'\\x41'",
    "SELECT $$text$$",
    "SELECT 'a'::my_type",
    "SELECT NEXT VALUE FOR s",
    "SELECT s.nextval",
    "SELECT GET_LOCK('a', 1)",
    "SELECT * FROM generate_series(1, 3)",
    "SELECT * FROM dblink_exec('drop table t')",
    "EXPLAIN ANALYZE CREATE TABLE t AS SELECT 1",
    "WITH c AS (INSERT INTO t VALUES (1) RETURNING 1) SELECT 1 FROM c",
    "VALUES (1)",
    "TABLE t",
    "SHOW x",
    "PRAGMA user_version = 5",
    "INSERT INTO t VALUES (1)",
    "SELECT é FROM t",
    "SELECT 1" + " + 1" * 5000,
    "",
]


@pytest.mark.parametrize("statement", HARMLESS)
def test_a_plain_read_is_known(statement: str) -> None:
    assert read(statement) is Kind.READ


@pytest.mark.parametrize("statement", DOUBTS)
def test_every_doubt_is_no_plain_read(statement: str) -> None:
    assert read(statement) is not Kind.READ


def test_reading_a_statement_takes_no_longer_than_its_length_says() -> None:
    for begin in ("SELECT '", 'SELECT "', "SELECT 1", "((((", "SELECT ((((", "SELECT a." * 500):
        read(begin * 1000)


def test_what_was_read_is_forgotten_with_the_statement(app: Flask) -> None:
    with app.app_context():
        db.session.execute(text("SELECT 1"))
        before = len(transactions._known)
        for number in range(1000):
            db.session.execute(text(f"SELECT {number}"))
    gc.collect()

    assert len(transactions._known) < before + 800


def test_a_safe_request_reads_without_a_transaction(serve: Serve) -> None:
    def view() -> object:
        db.session.get(Item, 1)
        db.session.execute(text("SELECT 1"))
        return count(), begun()

    assert serve(view) == (0, False)


def test_an_unsafe_request_is_one_transaction(serve: Serve) -> None:
    assert serve(lambda: (count(), begun()), "POST") == (0, True)


def test_the_first_doubt_begins_a_transaction_on_the_same_connection(serve: Serve) -> None:
    def view() -> object:
        count()
        first = db.session.connection().connection.dbapi_connection
        db.session.add(Item(name="A"))
        after = count()
        same = db.session.connection().connection.dbapi_connection is first
        return after, same, begun()

    assert serve(view) == (1, True, True)


def test_an_explicit_begin_is_a_transaction_in_any_request(serve: Serve) -> None:
    def view() -> object:
        with db.session.begin():
            db.session.execute(text("SELECT 1 AS one FROM pool_items"))
            return begun() or is_sqlite()

    assert serve(view)


def test_a_connection_by_hand_is_a_transaction_in_any_request(serve: Serve) -> None:
    def view() -> object:
        with db.engine.connect() as connection:
            connection.execute(select(Item.id))
            return begun(connection) or is_sqlite()

    assert serve(view)


@pytest.mark.parametrize(
    "options", [{"isolation_level": "REPEATABLE READ"}, {"stream_results": True}]
)
def test_what_depends_on_a_transaction_gets_one(serve: Serve, options: dict[str, Any]) -> None:
    def view() -> object:
        if is_sqlite() and "isolation_level" in options:
            return True
        connection = db.session.connection(execution_options=options)
        connection.execute(select(literal(1))).all()
        return begun(connection) or is_sqlite()

    assert serve(view)


def test_an_isolation_level_of_the_engine_is_a_transaction_always(make_app: Make) -> None:
    app = make_app(SQLALCHEMY_ENGINE_OPTIONS={"isolation_level": "SERIALIZABLE"})
    found: list[bool] = []

    @app.get("/")
    def view() -> str:
        db.session.execute(select(literal(1)))
        found.append(begun() or is_sqlite())
        return ""

    app.test_client().get("/")
    assert found == [True]


def test_a_read_that_fails_leaves_what_a_failed_transaction_leaves(serve: Serve) -> None:
    def view() -> object:
        with suppress(DBAPIError):
            db.session.execute(text("SELECT name FROM nowhere"))
        try:
            db.session.execute(text("SELECT 1"))
        except DBAPIError as error:
            return type(error.orig).__name__
        return "went on"

    expected = {"postgresql": "InFailedSqlTransaction"}
    with_dialect = serve(lambda: (view(), db.engine.dialect.name))
    assert with_dialect[0] == expected.get(with_dialect[1], "went on")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_is_not_committed_is_rolled_back(app: Flask, serve: Serve, method: str) -> None:
    def view() -> object:
        db.session.add(Item(name="A"))
        db.session.flush()
        return count()

    assert serve(view, method) == 1
    assert stored(app) == 0


def through_the_session() -> Any:
    return db.session.connection().connection.cursor()


def through_the_engine() -> Any:
    connection = db.engine.connect()
    connection.begin()
    return connection.connection.cursor()


def through_the_pool() -> Any:
    return db.engine.raw_connection().cursor()


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("take", [through_the_session, through_the_engine, through_the_pool])
def test_a_raw_cursor_is_rolled_back_too(
    app: Flask, serve: Serve, take: Callable[[], Any], method: str
) -> None:
    def view() -> object:
        cursor = take()
        cursor.execute("INSERT INTO pool_items (name) VALUES ('raw')")
        return cursor.rowcount

    assert serve(view, method) == 1
    assert stored(app) == 0


def test_a_savepoint_stands_in_a_transaction(app: Flask, serve: Serve) -> None:
    def view() -> object:
        db.session.add(Item(name="A"))
        savepoint = db.session.begin_nested()
        db.session.add(Item(name="B"))
        db.session.flush()
        savepoint.rollback()
        db.session.commit()
        return count()

    assert serve(view) == 1
    assert stored(app) == 1


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_engine_itself_is_transactional(app: Flask, serve: Serve, method: str) -> None:
    def view() -> object:
        with db.engine.connect() as connection:
            connection.execute(insert(Item).values(name="lost"))
            connection.rollback()
            connection.execute(insert(Item).values(name="lost"))
        with db.engine.begin() as connection:
            connection.execute(insert(Item).values(name="kept"))
        with Session(db.engine) as session:
            session.add(Item(name="lost"))
            session.flush()
        return None

    serve(view, method)

    assert stored(app) == 1


def test_autocommit_is_there_for_those_who_ask(app: Flask, engine: Engine) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(insert(Item).values(name="A"))
        assert not begun(connection)

    assert stored(app) == 1


def test_code_outside_requests_reads_in_a_transaction(app: Flask) -> None:
    with app.app_context():
        count()
        # on SQLite who only reads is in nobody's way
        assert begun() is not is_sqlite()


def test_one_request_holds_one_connection(app: Flask, engine: Engine) -> None:
    seen: list[int] = []
    app.before_request(lambda: str(count()) and None)

    @app.get("/")
    def view() -> str:
        db.session.add(Item(name="A"))
        db.session.commit()
        db.session.get(Item, 1)
        seen.append(engine.pool.checkedout())  # type: ignore[attr-defined]
        return ""

    app.test_client().get("/")
    assert seen == [1]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_many_rows_at_once_are_one_transaction(app: Flask, serve: Serve, method: str) -> None:
    def view() -> object:
        db.session.execute(insert(Item), [{"name": str(number)} for number in range(3)])
        mark = "?" if is_sqlite() else "%s"
        put = f"INSERT INTO pool_items (name) VALUES ({mark})"
        through_the_session().executemany(put, [["A"], ["B"]])
        inside = count()
        db.session.rollback()
        return inside

    assert serve(view, method) == 5
    assert stored(app) == 0
