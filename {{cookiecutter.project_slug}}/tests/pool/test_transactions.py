"""When a transaction begins, and what views and commands see of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask, stream_with_context
from sqlalchemy import event, func, insert, select, text, update
from sqlalchemy.engine import Engine
from sqlalchemy.exc import OperationalError

import {{cookiecutter.project_slug}} as service

db = service.db.db
User = service.models.User


@pytest.fixture
def sent(app: Flask) -> Iterator[list[str]]:
    """Every statement that is sent, and BEGIN where the driver finds itself in a transaction."""
    statements: list[str] = []
    begun = False
    engine = app.extensions["pool"].engines["default"]

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        nonlocal begun
        before, begun = begun, cursor.connection.in_transaction
        if begun and not before:
            statements.append("BEGIN")
        if not statement.startswith("BEGIN"):
            statements.append(statement.split()[0])

    def ended(connection: Any) -> None:
        nonlocal begun
        begun = False

    listeners: dict[str, Callable[..., Any]] = {
        "after_cursor_execute": note,
        "commit": ended,
        "rollback": ended,
    }
    for happening, listener in listeners.items():
        event.listen(engine, happening, listener)
    yield statements
    for happening, listener in listeners.items():
        event.remove(engine, happening, listener)


@pytest.fixture
def serve(app: Flask) -> Callable[..., str]:
    """Run a view once, by default with GET, on a pool of one connection."""
    pool = app.extensions["pool"].engines["default"].pool
    pool.gate.capacity = pool.gate._free = 1

    def run(view: Callable[[], object], method: str = "GET") -> str:
        app.add_url_rule("/view", view_func=lambda: str(view()), methods=["GET", "POST"])
        response = app.test_client().open("/view", method=method)
        assert pool.gate.free == 1
        return response.text

    return run


def count() -> int:
    return db.session.scalar(select(func.count()).select_from(User)) or 0


def stored(app: Flask) -> int:
    with app.app_context():
        return count()


def test_a_safe_request_reads_without_a_transaction(
    serve: Callable[..., str], sent: list[str]
) -> None:
    def view() -> object:
        db.session.get(User, 1)
        db.session.execute(text("SELECT 1"))
        return count()

    assert serve(view) == "0"
    assert sent == ["SELECT", "SELECT", "SELECT"]


def test_an_unsafe_request_is_one_transaction(serve: Callable[..., str], sent: list[str]) -> None:
    def view() -> object:
        count()
        db.session.add(User(name="A"))
        db.session.flush()
        return count()

    assert serve(view, "POST") == "1"
    assert sent == ["BEGIN", "SELECT", "INSERT", "SELECT"]


def test_a_write_in_a_safe_request_begins_one_on_the_same_connection(
    app: Flask, serve: Callable[..., str], sent: list[str]
) -> None:
    def view() -> object:
        before = count()
        db.session.add(User(name="A"))
        after = count()
        db.session.commit()
        return before, after, count()

    assert serve(view) == "(0, 1, 1)"
    assert sent == ["SELECT", "BEGIN", "INSERT", "SELECT", "SELECT"]
    assert stored(app) == 1


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_is_not_committed_is_rolled_back(
    app: Flask, serve: Callable[..., str], method: str
) -> None:
    def view() -> object:
        db.session.add(User(name="A"))
        db.session.flush()
        return count()

    assert serve(view, method) == "1"
    assert stored(app) == 0


@pytest.mark.parametrize(
    "statement",
    [
        insert(User).values(name="A"),
        text("INSERT INTO user_alias (name) VALUES ('A')"),
    ],
)
def test_core_and_plain_sql_are_rolled_back_too(
    app: Flask, serve: Callable[..., str], statement: Any
) -> None:
    if hasattr(statement, "text"):
        quoted = app.extensions["pool"].engines["default"].dialect.identifier_preparer.quote("user")
        statement = text(statement.text.replace("user_alias", quoted))

    def view() -> object:
        db.session.execute(statement)
        return count()

    assert serve(view) == "1"
    assert stored(app) == 0


def test_a_savepoint_in_a_safe_request_stands_in_a_transaction(
    app: Flask, serve: Callable[..., str]
) -> None:
    def view() -> object:
        db.session.add(User(name="A"))
        savepoint = db.session.begin_nested()
        db.session.add(User(name="B"))
        db.session.flush()
        savepoint.rollback()
        db.session.commit()
        return count()

    assert serve(view) == "1"
    assert stored(app) == 1


def test_an_explicit_begin_is_a_transaction_in_any_request(
    serve: Callable[..., str], sent: list[str]
) -> None:
    def view() -> object:
        with db.session.begin():
            return count()

    assert serve(view) == "0"
    assert sent == ["BEGIN", "SELECT"]


def test_a_locking_read_stands_in_a_transaction(serve: Callable[..., str], sent: list[str]) -> None:
    def view() -> object:
        db.session.execute(text("SELECT 1 /* FOR UPDATE */"))
        return "done"

    serve(view)

    assert sent == ["BEGIN", "SELECT"]


def test_code_outside_requests_always_has_a_transaction(app: Flask, sent: list[str]) -> None:
    def job() -> int:
        with app.app_context():
            return count()

    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(job).result() == 0

    assert sent == ["BEGIN", "SELECT"]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_engine_itself_is_transactional(
    app: Flask, serve: Callable[..., str], method: str
) -> None:
    def view() -> object:
        engine: Engine = db.engine
        with engine.connect() as connection:
            connection.execute(insert(User).values(name="lost"))
            connection.rollback()
            connection.execute(insert(User).values(name="lost"))
        with engine.begin() as connection:
            connection.execute(insert(User).values(name="kept"))
        return "done"

    serve(view, method)

    assert stored(app) == 1


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("GET", ["SELECT", "BEGIN", "INSERT", "SELECT"]),
        ("POST", ["BEGIN", "SELECT", "INSERT", "SELECT"]),
    ],
)
def test_a_connection_to_read_from_begins_when_the_session_would(
    serve: Callable[..., str], sent: list[str], method: str, expected: list[str]
) -> None:
    def view() -> object:
        with service.pool.transactions.reading(db.engine) as connection:
            connection.execute(select(User.id))
            connection.execute(insert(User).values(name="lost"))
            return len(connection.execute(select(User.id)).all())

    assert serve(view, method) == "1"
    assert sent == expected


def test_a_driver_that_begins_by_itself_is_left_to_it(app: Flask, sent: list[str]) -> None:
    engine = app.extensions["pool"].engines["default"]

    with engine.connect().execution_options(isolation_level="SERIALIZABLE") as connection:
        connection.execute(insert(User).values(name="lost"))

    assert sent == ["BEGIN", "INSERT"]
    assert stored(app) == 0


def test_autocommit_is_there_for_those_who_ask(app: Flask, sent: list[str]) -> None:
    engine = app.extensions["pool"].engines["default"]

    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(insert(User).values(name="A"))

    assert sent == ["INSERT"]
    assert stored(app) == 1


def test_a_streamed_response_reads_to_its_end_and_gives_its_connection_back(
    app: Flask,
) -> None:
    @app.get("/stream")
    def stream() -> Any:
        def rows() -> Iterator[str]:
            for user in db.session.scalars(select(User).order_by(User.id)):
                yield user.name

        return app.response_class(stream_with_context(rows()))

    client = app.test_client()
    for name in "ABC":
        client.post("/users", json={"name": name})

    assert client.get("/stream").text == "ABC"
    assert app.extensions["pool"].engines["default"].pool.checkedout() == 0


def test_writers_wait_for_each_other_and_lose_nothing(app: Flask) -> None:
    @app.post("/add-one/<int:user_id>")
    def add_one(user_id: int) -> str:
        read = select(User.name).where(User.id == user_id).with_for_update()
        number = int(db.session.scalar(read) or 0)
        db.session.execute(update(User).where(User.id == user_id).values(name=str(number + 1)))
        db.session.commit()
        return "done"

    client = app.test_client()
    where = client.post("/users", json={"name": "0"}).headers["Location"]
    app.extensions["pool"].engines["default"].pool.gate.timeout = 30

    with ThreadPoolExecutor(8) as threads:
        path = where.replace("/users", "/add-one")
        answers = list(threads.map(lambda _: app.test_client().post(path), range(40)))

    assert {answer.status_code for answer in answers} == {200}
    assert client.get("/users").text == "40"


def test_a_view_that_meets_a_broken_connection_is_run_again(
    app: Flask, serve: Callable[..., str]
) -> None:
    runs = []

    def view() -> object:
        runs.append(count())
        if len(runs) == 1:
            raise OperationalError("SELECT", {}, ConnectionError(), connection_invalidated=True)
        return len(runs)

    assert serve(view) == "2"


def test_a_view_that_only_read_in_a_transaction_of_its_own_is_run_again_too(
    app: Flask, serve: Callable[..., str]
) -> None:
    runs = []

    def view() -> object:
        with db.session.begin():
            runs.append(count())
            if len(runs) == 1:
                raise OperationalError("SELECT", {}, ConnectionError(), connection_invalidated=True)
        return len(runs)

    assert serve(view) == "2"


def test_a_view_that_wrote_is_never_run_again(app: Flask, serve: Callable[..., str]) -> None:
    runs = []

    def view() -> object:
        runs.append(1)
        db.session.execute(insert(User).values(name="A"))
        raise OperationalError("INSERT", {}, ConnectionError(), connection_invalidated=True)

    assert '"status": 503' in serve(view)
    assert (len(runs), stored(app)) == (1, 0)
