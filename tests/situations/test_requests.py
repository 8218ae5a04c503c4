"""The life of a request and what outlives it: callbacks, streams, threads, contexts, commands."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Response, copy_current_request_context, g, stream_with_context
from flask.views import MethodView
from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy.session import Session as OwnSession
from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from werkzeug.local import LocalProxy

from .applications import POOL, Application, extension
from .conftest import Make
from .databases import Database, on

COUNT = text("SELECT count(*) FROM item")
PUT = text("INSERT INTO item (name) VALUES ('late')")
EITHER_WAY = pytest.mark.parametrize("method", ["GET", "POST"])


def with_session(app: Application, session: Session, connection: Any) -> None:
    """Write with the view's own session."""
    session.execute(PUT)
    session.commit()


def with_context(app: Application, session: Session, connection: Any) -> None:
    """Write in a context of its own."""
    with app.flask.app_context():
        app.session.execute(PUT)
        app.session.commit()


def with_connection(app: Application, session: Session, connection: Any) -> None:
    """Write with a connection that the view took."""
    connection.execute(PUT)
    connection.commit()
    connection.close()


@EITHER_WAY
@pytest.mark.parametrize("work", [with_session, with_context, with_connection])
@pytest.mark.parametrize("read_before", [True, False])
def test_call_on_close(
    app: Application, database: Database, work: Any, method: str, read_before: bool
) -> None:
    """What runs as the response is closed has its connection and stores what it commits."""

    def view() -> Response:
        connection = app.db.engine.connect() if work is with_connection else None
        session = Session(app.db.engine) if work is with_session else app.session()
        if read_before:
            (connection or session).scalar(COUNT)
        response = Response("done")
        response.call_on_close(lambda: work(app, session, connection))
        return response

    assert app.ask(view, method).text == "done"
    assert database.names() == ["one", "two", "late"]


@EITHER_WAY
@pytest.mark.parametrize("when", ["after_request", "teardown_request", "teardown_appcontext"])
def test_work_at_the_end(app: Application, database: Database, when: str, method: str) -> None:
    """Functions at the end of a request read and write with the session."""
    armed = [True]

    def work(argument: Any) -> Any:
        # the test's own contexts end too
        if not armed:
            return argument
        armed.clear()
        assert app.session.scalar(COUNT) == 2
        app.session.execute(PUT)
        app.session.commit()
        return argument

    getattr(app.flask, when)(work)
    assert app.json(lambda: app.session.scalar(COUNT), method) == 2
    assert database.names() == ["one", "two", "late"]


@EITHER_WAY
def test_stream_with_the_session(app: Application, database: Database, method: str) -> None:
    """A stream reads row by row and writes at its end."""

    def view() -> Response:
        def rows() -> Iterator[str]:
            query = select(app.Item).order_by(app.Item.id).execution_options(yield_per=1)
            for item in app.session.scalars(query):
                yield item.name + ";"
            app.session.execute(PUT)
            app.session.commit()

        return Response(stream_with_context(rows()))

    assert app.ask(view, method).text == "one;two;"
    assert database.names() == ["one", "two", "late"]


@on("postgresql", "mariadb")
def test_connection_that_a_module_keeps(app: Application, database: Database, family: str) -> None:
    """A lock that lives as long as its connection outlives the request that took it."""
    kept: list[Any] = []
    lock, look = {
        "postgresql": ("SELECT pg_try_advisory_lock(42)", "SELECT pg_try_advisory_lock(42)"),
        "mariadb": ("SELECT GET_LOCK('job', 0)", "SELECT GET_LOCK('job', 0)"),
    }[family]

    def take() -> Any:
        kept.append(app.db.engine.connect())
        return bool(kept[0].scalar(text(lock)))

    def other() -> Any:
        return app.session.scalar(COUNT)

    assert app.json(take, "POST") is True
    for _ in range(3):
        assert app.json(other) == 2
        assert [bool(one) for one in database.run(look)] == [False]
    assert kept[0].scalar(COUNT) == 2
    kept[0].close()


@EITHER_WAY
@pytest.mark.parametrize("how", ["raw", "detached"])
def test_driver_connection(app: Application, database: Database, how: str, method: str) -> None:
    """A connection taken from the pool for its driver works and commits by itself."""

    def view() -> Any:
        if how == "raw":
            kept: Any = app.db.engine.raw_connection()
        else:
            kept = app.db.engine.raw_connection()
            kept.detach()
        cursor = kept.cursor()
        cursor.execute("SELECT count(*) FROM item")
        found = cursor.fetchone()[0]
        cursor.execute(PUT.text)
        cursor.close()
        kept.commit()
        kept.close()
        return found

    assert app.json(view, method) == 2
    assert database.names() == ["one", "two", "late"]


@EITHER_WAY
@pytest.mark.parametrize("how", ["copied", "own"])
def test_threads_of_a_view(app: Application, database: Database, how: str, method: str) -> None:
    """Threads with the request's context copied, or with one of their own, read and write."""

    def view() -> Any:
        def job() -> Any:
            return app.session.scalar(COUNT)

        def inside() -> Any:
            with app.flask.app_context():
                return job()

        work = [copy_current_request_context(job) if how == "copied" else inside for _ in range(3)]
        with ThreadPoolExecutor(3) as threads:
            found = [one.result() for one in [threads.submit(one) for one in work]]
        app.session.execute(PUT)
        app.session.commit()
        return found

    assert app.json(view, method) == [2, 2, 2]
    assert database.names() == ["one", "two", "late"]


def test_thread_that_outlives_its_request(app: Application, database: Database) -> None:
    """A thread that a view started goes on when the request has ended."""
    go, done = threading.Event(), threading.Event()

    def job() -> None:
        with app.flask.app_context():
            app.session.scalar(COUNT)
            go.wait(10)
            app.session.execute(PUT)
            app.session.commit()
        done.set()

    def view() -> str:
        threading.Thread(target=job).start()
        return "started"

    assert app.json(view) == "started"
    go.set()
    assert done.wait(10)
    assert database.names() == ["one", "two", "late"]


@EITHER_WAY
def test_client_in_a_context(app: Application, method: str) -> None:
    """A test's client inside an application context leaves the test's session alone."""
    view = app.path(lambda: str(app.session.scalar(COUNT)))
    with app.flask.app_context():
        item = app.session.get(app.Item, 1)
        item.value = 11
        with app.flask.test_client() as client:
            assert client.open(view, method=method).text == "2"
        assert item in app.session
        app.session.commit()
        app.session.refresh(item)
        assert item.value == 11


def test_client_in_a_view(app: Application) -> None:
    """A view that asks another view has its own session afterwards."""
    inner = app.path(lambda: str(app.session.scalar(COUNT)))

    def outer() -> Any:
        item = app.session.get(app.Item, 1)
        found = app.flask.test_client().get(inner).text
        return [found, item in app.session, len(item.children)]

    assert app.json(outer) == ["2", True, 2]


@EITHER_WAY
def test_rows_after_the_request(app: Application, method: str) -> None:
    """Objects that a view read stay readable when the request is over."""
    kept: list[Any] = []

    def view() -> str:
        kept.extend(app.session.scalars(select(app.Item).order_by(app.Item.id)))
        return "read"

    app.json(view, method)
    assert [item.name for item in kept] == ["one", "two"]


@EITHER_WAY
def test_session_before_and_after(app: Application, database: Database, method: str) -> None:
    """A user that is loaded before the view is the view's, and one connection does it all."""

    @app.flask.before_request
    def load() -> None:
        g.item = app.session.get(app.Item, 1)

    def view() -> Any:
        g.item.value = 12
        app.session.commit()
        pool: Any = app.db.engine.pool
        app.session.scalar(COUNT)
        return [g.item.value, pool.checkedout()]

    assert app.json(view, method) == [12, 1]
    assert database.run("SELECT value FROM item WHERE id = 1") == [12]


@pytest.mark.parametrize("method", ["get", "post"])
def test_method_view(app: Application, database: Database, method: str) -> None:
    """A view that is a class writes with GET and with POST, and needs no mark."""

    class View(MethodView):
        """Counts an item up."""

        def get(self) -> str:
            """Count up."""
            item = app.session.get(app.Item, 1)
            item.value = app.Item.value + 1
            app.session.commit()
            return str(item.value)

        post = get

    app.flask.add_url_rule("/class", view_func=View.as_view("class"))
    with app.flask.test_client() as client:
        assert client.open("/class", method=method).text == "11"
    assert database.run("SELECT value FROM item WHERE id = 1") == [11]


@on("sqlite")
@pytest.mark.parametrize("path", ["/metrics", "/pool", "/pool.json"])
def test_routes_of_its_own(make: Make, path: str) -> None:
    """An application's own pages are its own."""
    app = make(OPS_TOKEN="operator-operator-operator")
    app.flask.add_url_rule(path, "own", lambda: "mine")
    answer = app.flask.test_client().get(path)
    assert (answer.status_code, answer.text) == (200, "mine")


@on("postgresql", "mariadb")
@pytest.mark.parametrize("propagate", [True, False])
def test_exhausted(make: Make, side: str, propagate: bool) -> None:
    """503 with Retry-After where the plain application answers 500."""
    options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.2}
    settings = {"SQLALCHEMY_POOL_SIZE": 1, "SQLALCHEMY_MAX_OVERFLOW": 0}
    app = make(
        PROPAGATE_EXCEPTIONS=propagate if side == POOL else False,
        **({} if side == POOL else {"SQLALCHEMY_ENGINE_OPTIONS": options}),
        **settings,
        SQLALCHEMY_POOL_TIMEOUT=0.2,
    )
    with app.engine.connect():
        answer = app.ask(lambda: str(app.session.scalar(COUNT)))
    assert answer.status_code == (503 if side == POOL else 500)
    assert ("Retry-After" in answer.headers) == (side == POOL)
    assert app.ask(lambda: str(app.session.scalar(COUNT))).text == "2"


def temporary_table(app: Application, family: str) -> list[Any]:
    """Make a temporary table and find it after a commit."""
    app.session.execute(text("CREATE TEMPORARY TABLE mine (a INT)"))
    app.session.execute(text("INSERT INTO mine VALUES (7)"))
    app.session.commit()
    return [app.session.scalar(text("SELECT a FROM mine"))]


def advisory_lock(app: Application, family: str) -> list[Any]:
    """Take a lock, commit, and give it back."""
    take, leave = {
        "postgresql": ("SELECT pg_try_advisory_lock(9)", "SELECT pg_advisory_unlock(9)"),
        "mariadb": ("SELECT GET_LOCK('nine', 0)", "SELECT RELEASE_LOCK('nine')"),
        "sqlite": ("SELECT 1", "SELECT 1"),
    }[family]
    found = [bool(app.session.scalar(text(take)))]
    app.session.commit()
    return [*found, bool(app.session.scalar(text(leave)))]


def many_commits(app: Application, family: str) -> list[Any]:
    """Commit many times, on one connection."""
    question = {
        "postgresql": "SELECT pg_backend_pid()",
        "mariadb": "SELECT connection_id()",
        "sqlite": "SELECT 1",
    }[family]
    seen = set()
    for _ in range(100):
        seen.add(app.session.scalar(text(question)))
        app.session.commit()
    return [len(seen)]


def bounded(app: Application, family: str) -> list[Any]:
    """Serve with threads, as a server that is a command does: the pool bounds them."""

    def serve(_number: int) -> Any:
        with app.flask.app_context():
            app.session.scalar(COUNT)
            time.sleep(0.01)
            pool: Any = app.db.engine.pool
            return pool.checkedout() <= 15

    with ThreadPoolExecutor(20) as threads:
        return [all(threads.map(serve, range(60)))]


COMMANDS: dict[Callable[..., list[Any]], list[Any]] = {
    temporary_table: [7],
    advisory_lock: [True, True],
    many_commits: [1],
    bounded: [True],
}


@pytest.mark.parametrize("work", COMMANDS)
def test_command(app: Application, family: str, work: Any) -> None:
    """A command of flask has one connection for its work, and the bounds of the pool."""
    found: list[Any] = []

    @app.flask.cli.command("work")
    def command() -> None:
        found.extend(work(app, family))

    result = app.flask.test_cli_runner().invoke(args=["work"])
    assert result.exception is None, result.output
    assert found == COMMANDS[work]


@pytest.mark.parametrize("method", ["GET", "POST"])
@on("mariadb")
def test_a_report_raises_its_own_limit(make: Make, method: str) -> None:
    """MariaDB's limit for one statement counts, beyond every limit of the pool."""
    app = make(SQLALCHEMY_STATEMENT_TIMEOUT=0.5, SQLALCHEMY_CONNECT_TIMEOUT=1)
    report = text("SET STATEMENT max_statement_time = 20 FOR SELECT 1 FROM (SELECT SLEEP(2)) AS t")
    assert app.json(lambda: app.session.scalar(report), method) == 1


@on("mariadb")
@EITHER_WAY
def test_level_of_the_server(app: Application, database: Database, method: str) -> None:
    """MariaDB's own level holds: a transaction sees one state."""

    def view() -> Any:
        first = app.session.scalar(COUNT)
        database.run("INSERT INTO item (name) VALUES ('rival')")
        return [first, app.session.scalar(COUNT), app.session.scalar(text("SELECT @@tx_isolation"))]

    assert app.json(view, method) == [2, 2, "REPEATABLE-READ"]


@EITHER_WAY
def test_savepoints(app: Application, database: Database, method: str) -> None:
    """What a savepoint takes back is gone, the rest is stored."""

    def view() -> Any:
        app.session.scalar(COUNT)
        app.session.add(app.Item(name="kept"))
        app.session.flush()
        nested = app.session.begin_nested()
        app.session.add(app.Item(name="gone"))
        app.session.flush()
        nested.rollback()
        app.session.commit()
        return app.session.scalar(select(func.count()).select_from(app.Item))

    assert app.json(view, method) == 3
    assert database.names() == ["one", "two", "kept"]


@on("postgresql", "mariadb")
def test_parallel_increments(app: Application, database: Database) -> None:
    """Clients that count one row up in GETs lose nothing."""

    def view() -> Any:
        query = select(app.Item).where(app.Item.id == 1).with_for_update()
        app.session.scalars(query).one().value += 1
        app.session.commit()
        return "counted"

    path = app.path(view)
    with ThreadPoolExecutor(6) as clients:
        answers = clients.map(lambda _: app.flask.test_client().get(path).status_code, range(60))
        assert list(answers) == [200] * 60
    assert database.run("SELECT value FROM item WHERE id = 1") == [70]


@EITHER_WAY
def test_bulk_and_returning(app: Application, database: Database, method: str) -> None:
    """Many rows in one statement, committed by the view."""

    def view() -> Any:
        app.session.scalar(COUNT)
        rows = [{"name": f"n{number}"} for number in range(50)]
        app.session.execute(insert(app.Item), rows)
        app.session.commit()
        return app.session.scalar(COUNT)

    assert app.json(view, method) == 52


@on("postgresql", "mariadb")  # SQLite's driver begins no transaction before a savepoint
@EITHER_WAY
def test_session_of_a_test_takes_the_place_of_the_own(app: Application, method: str) -> None:
    """SQLAlchemy's recipe for test suites: what a view commits is rolled back after the test."""

    def view() -> Any:
        app.session.add(app.Item(name="three"))
        app.session.commit()
        app.session.add(app.Item(name="three"))
        with pytest.raises(IntegrityError):
            app.session.commit()
        app.session.rollback()
        return app.session.scalar(select(func.count()).select_from(app.Item))

    with app.flask.app_context():
        own = app.db.session
        with app.engine.connect() as connection:
            outer = connection.begin()
            maker = sessionmaker(connection, join_transaction_mode="create_savepoint")
            session: Any = scoped_session(maker)
            app.db.session = session
            assert app.json(view, method) == 3
            app.db.session.remove()
            outer.rollback()
            app.db.session = own
        assert own.scalar(select(func.count()).select_from(app.Item)) == 2


def by_function(db: SQLAlchemy) -> Any:
    """Sessions made by a function, which has no events."""
    return scoped_session(lambda: OwnSession(db))  # type: ignore[arg-type]


def by_proxy(db: SQLAlchemy) -> Any:
    """A stand-in for the extension's own."""
    own = db.session
    return LocalProxy(lambda: own)


@EITHER_WAY
@pytest.mark.parametrize("kind", [by_function, by_proxy])
def test_session_that_flask_sqlalchemy_has_not_made(make: Make, method: str, kind: Any) -> None:
    """It is there before the application gets its extension."""
    db = extension()
    db.session = kind(db)
    app = make(db=db)

    def view() -> Any:
        before = len(app.session.scalars(select(app.Item)).all())
        app.session.add(app.Item(name="three"))
        app.session.commit()
        return before, app.session.scalar(select(func.count()).select_from(app.Item))

    assert app.json(view, method) == [2, 3]


@EITHER_WAY
def test_single_session_in_place_of_a_scoped_one(app: Application, method: str) -> None:
    """As fixtures have it that hold one connection for a whole test."""

    class Single(Session):
        def remove(self) -> None:
            self.expunge_all()

    with app.flask.app_context():
        own = app.db.session
        with Single(app.engine) as single:
            replaced: Any = single
            app.db.session = replaced
            count = select(func.count()).select_from(app.Item)
            assert app.json(lambda: app.session.scalar(count), method) == 2
            app.db.session = own
