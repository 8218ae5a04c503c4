"""The life of a request and what outlives it: callbacks, streams, threads, contexts, commands."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Response
from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy.session import Session as OwnSession
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from werkzeug.local import LocalProxy

from .applications import Application, extension
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


@EITHER_WAY
def test_rows_after_the_request(app: Application, method: str) -> None:
    """Objects that a view read stay readable when the request is over."""
    kept: list[Any] = []

    def view() -> str:
        kept.extend(app.session.scalars(select(app.Item).order_by(app.Item.id)))
        return "read"

    app.json(view, method)
    assert [item.name for item in kept] == ["one", "two"]


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
