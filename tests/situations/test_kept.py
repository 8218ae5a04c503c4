"""A connection never comes back to the pool with anything left switched."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Response, stream_with_context
from sqlalchemy import String, TypeDecorator, bindparam, event, select, text

from .applications import POOL, Application
from .conftest import Make
from .databases import Database, on

# the plain application switches nothing
pytestmark = [on("postgresql"), pytest.mark.parametrize("side", [POOL], indirect=True)]


class Deliberate(Exception):
    """What a listener raises."""


class Ended(BaseException):
    """What no one catches, such as a greenlet's end."""


FAILURES = (Deliberate, KeyboardInterrupt, Ended)


def read(app: Application) -> Any:
    """Read as every view does."""
    return [item.name for item in app.session.scalars(select(app.Item).order_by(app.Item.id))]


def pooled(app: Application) -> list[Any]:
    """Give the connections that are in the pool."""
    engine = app.engine
    pool: Any = engine.pool
    taken = [engine.raw_connection() for _ in range(max(1, pool.checkedin()))]
    found = [one.driver_connection for one in taken]
    for one in taken:
        one.close()
    return found


def nothing_is_left(app: Application, database: Database) -> None:
    """Look at each pooled connection, and at what the next request does with it."""
    for one in pooled(app):
        assert one.autocommit is False
        assert one.info.transaction_status.name == "IDLE"
        assert one.info.pipeline_status.name == "OFF"

    def write() -> str:
        app.session.execute(text("INSERT INTO item (name) VALUES ('not committed')"))
        return "written"

    for method in ("GET", "POST"):
        assert app.json(write, method) == "written"
        assert database.names() == ["one", "two"]


def ask(app: Application, view: Callable[[], Any]) -> None:
    """Ask twice, whatever comes of it."""
    for _ in range(2):
        with contextlib.suppress(*FAILURES, Exception):
            app.ask(lambda: {"found": view()})


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize(
    "where",
    [
        "before_cursor_execute",
        "after_cursor_execute",
        "do_execute",
        "before_execute",
        "after_execute",
    ],
)
def test_listener_that_raises(
    app: Application, database: Database, where: str, failure: type[BaseException]
) -> None:
    """Whatever a listener of the engine raises, and however late."""
    armed = [True]

    def listener(*args: Any, **kwargs: Any) -> None:
        if armed:
            raise failure

    app.json(lambda: read(app))
    event.listen(app.engine, where, listener)
    ask(app, lambda: read(app))
    armed.clear()
    nothing_is_left(app, database)


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("insert", [True, False])
@pytest.mark.parametrize("when", ["before", "after"])
def test_orm_listener_that_raises(
    make: Make, database: Database, when: str, failure: type[BaseException], insert: bool
) -> None:
    """Whatever a listener of the session raises, before the read is sent or after it."""
    app = make()
    armed = [True]

    def listener(state: Any) -> Any:
        if not armed:
            return None
        if when == "after":
            state.invoke_statement()
        raise failure

    event.listen(app.db.session, "do_orm_execute", listener, insert=insert)
    ask(app, lambda: read(app))
    armed.clear()
    nothing_is_left(app, database)


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("place", ["process_bind_param", "process_result_value", "load"])
def test_type_that_raises(
    app: Application, database: Database, place: str, failure: type[BaseException]
) -> None:
    """Whatever a type or a load event raises while rows are sent or fetched."""

    def fail(*args: Any) -> Any:
        raise failure

    kind = type("Failing", (TypeDecorator,), {"impl": String, "cache_ok": True, place: fail})
    name = text("SELECT name FROM item WHERE name = :name").columns(name=kind)
    if place == "load":
        event.listen(app.Item, "load", fail)
        ask(app, lambda: read(app))
        event.remove(app.Item, "load", fail)
    elif place == "process_bind_param":
        column = app.Item.__table__.c.name
        ask(app, lambda: app.session.execute(select(column).where(column == fail_bind(kind))).all())
    else:
        ask(app, lambda: app.session.execute(name, {"name": "one"}).all())
    nothing_is_left(app, database)


def fail_bind(kind: Any) -> Any:
    """Give a bound value of a type that fails."""
    return bindparam("name", "one", type_=kind())


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT nothing FROM item",
        "SELEC 1",
        "SELECT 1/0",
        "SELECT name::int FROM item",
        "SELECT 1; SELECT 2",
        "SELECT 1 FROM item FOR UPDATE",
        "SELECT pg_terminate_backend(pg_backend_pid())",
        "SELECT pg_cancel_backend(pg_backend_pid())",
        "SELECT 'a' || chr(0)",
    ],
)
def test_statement_that_fails(app: Application, database: Database, statement: str) -> None:
    """Whatever the server says."""
    app.flask.config["PROPAGATE_EXCEPTIONS"] = False
    ask(app, lambda: str(app.session.execute(text(statement)).all()))
    nothing_is_left(app, database)


def test_interrupt_while_the_server_works(app: Application, database: Database, undo: Any) -> None:
    """Ctrl-C while a read waits for the server."""

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    undo(lambda: signal.signal(signal.SIGALRM, before))
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    with pytest.raises(KeyboardInterrupt):
        app.ask(lambda: str(app.session.scalar(text("SELECT count(pg_sleep(20)) FROM item"))))
    nothing_is_left(app, database)


def half_a_cursor(app: Application) -> Any:
    """Leave a server-side cursor half read."""
    query = select(app.Item).execution_options(yield_per=1)
    return next(iter(app.session.scalars(query))).name


def read_inside_a_cursor(app: Application) -> Any:
    """Read while a server-side cursor is open, and leave it."""
    cursor = app.session.execute(select(app.Item), execution_options={"stream_results": True})
    cursor.fetchone()
    return read(app)


def open_pipeline(app: Application) -> Any:
    """Enter a pipeline after a read, and fail inside."""
    read(app)
    raw = app.session.connection().connection.driver_connection
    with raw.pipeline():
        app.session.execute(text("SELECT 1"))
        raise Deliberate


def left_pipeline(app: Application) -> Any:
    """Read, enter a pipeline by hand, read and leave it."""
    read(app)
    raw = app.session.connection().connection.driver_connection
    with raw.pipeline():
        return read(app)


def half_a_copy(app: Application) -> Any:
    """Fail in the midst of a COPY."""
    read(app)
    raw = app.session.connection().connection.driver_connection
    with raw.cursor().copy("COPY item TO STDOUT") as copy:
        copy.read()
        raise Deliberate


def nested_reads(app: Application) -> Any:
    """Read in a savepoint which fails."""
    read(app)
    with app.session.begin_nested():
        read(app)
        raise Deliberate


def autocommit_for_a_while(app: Application) -> Any:
    """Read on a connection with AUTOCOMMIT of SQLAlchemy's."""
    app.session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
    return read(app)


VIEWS = (
    half_a_cursor, read_inside_a_cursor, open_pipeline, left_pipeline, half_a_copy, nested_reads,
    autocommit_for_a_while,
)  # fmt: skip


# the driver warns of cursors that are left
@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.parametrize("view", VIEWS)
def test_view_that_leaves_something(app: Application, database: Database, view: Any) -> None:
    """Whatever a view leaves open."""
    app.flask.config["PROPAGATE_EXCEPTIONS"] = False
    ask(app, lambda: view(app))
    nothing_is_left(app, database)


def test_stream_that_is_left(app: Application, database: Database) -> None:
    """A client that leaves in the midst of an answer."""

    def view() -> Response:
        def rows() -> Iterator[str]:
            for item in app.session.scalars(select(app.Item)):
                yield item.name

        return Response(stream_with_context(rows()))

    path = app.path(view)
    with app.flask.test_client() as client:
        answer = client.get(path, buffered=False)
        assert next(iter(answer.response)) == b"one"
        answer.close()
    nothing_is_left(app, database)


def test_listener_that_switches_itself(app: Application, database: Database) -> None:
    """What an application switches around its own statements is as it left it."""

    @event.listens_for(app.engine, "before_cursor_execute")
    def note(conn: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if statement.startswith("SELECT item"):
            conn.exec_driver_sql("SAVEPOINT mine")

    ask(app, lambda: read(app))
    assert app.json(lambda: read(app)) == ["one", "two"]
    for one in pooled(app):
        assert one.autocommit is False
        assert one.info.transaction_status.name == "IDLE"
