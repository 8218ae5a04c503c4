"""Listeners of an application: each is called as often as on the plain application, and decides."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Response
from sqlalchemy import event, func, insert, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, with_loader_criteria

from .applications import Application, extension
from .conftest import Make
from .databases import Database, on


def names(app: Application) -> Callable[[], list[str]]:
    """Give a view that reads all names."""
    return lambda: list(app.session.scalars(select(app.Item.name).order_by(app.Item.id)))


@pytest.mark.parametrize("event_name", ["before_cursor_execute", "after_cursor_execute"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_cursor_listeners_hear_each_statement_once(
    app: Application, event_name: str, method: str
) -> None:
    """Two statements of a view are two calls, with their text."""
    heard: list[str] = []

    @event.listens_for(app.engine, event_name)
    def listener(conn: Any, cursor: Any, statement: str, *rest: Any) -> None:
        heard.append(statement.partition(" ")[0])

    app.json(lambda: [names(app)(), app.session.scalar(text("SELECT 1"))], method)
    assert heard == ["SELECT", "SELECT"]


@on("postgresql", "mariadb")
def test_text_that_a_listener_changed_is_what_counts(app: Application, database: Database) -> None:
    """A listener that adds FOR UPDATE to the SELECT of a GET has its rows locked."""

    @event.listens_for(app.engine, "before_cursor_execute", retval=True)
    def lock(conn: Any, cursor: Any, statement: str, *rest: Any) -> tuple[str, Any]:
        locked = f"{statement} FOR UPDATE" if "FROM item" in statement else statement
        return locked, rest[0]

    def view() -> list[Any]:
        found = names(app)()
        rest = "SELECT name FROM item FOR UPDATE SKIP LOCKED"
        return [found, database.run(rest)]

    assert app.json(view) == [["one", "two"], []]


def test_a_text_that_became_a_write_is_rolled_back(app: Application, database: Database) -> None:
    """A statement that a listener turned into a write belongs to the transaction."""

    @event.listens_for(app.engine, "before_cursor_execute", retval=True)
    def change(conn: Any, cursor: Any, statement: str, *rest: Any) -> tuple[str, Any]:
        if "SELECT" not in statement or "item" not in statement:
            return statement, rest[0]
        return "UPDATE item SET value = 99", rest[0]

    def view() -> str:
        app.session.execute(text("SELECT name FROM item"))
        return "done"

    assert app.json(view) == "done"
    assert database.run("SELECT value FROM item ORDER BY id") == [10, 20]


@pytest.mark.parametrize("when", ["before_cursor_execute", "after_cursor_execute", "load"])
def test_a_write_in_the_midst_of_a_read_is_rolled_back(
    app: Application, database: Database, when: str
) -> None:
    """What a listener writes while a GET reads is in the transaction, which is not committed."""
    statement = "UPDATE item SET value = 99"

    if when == "load":

        @event.listens_for(app.Item, "load")
        def loaded(item: Any, context: Any) -> None:
            context.session.connection().exec_driver_sql(statement)

    else:

        @event.listens_for(app.engine, when)
        def listener(conn: Any, cursor: Any, sent: str, *rest: Any) -> None:
            if sent.startswith("SELECT"):
                conn.exec_driver_sql(statement)

    def view() -> int:
        return len(app.session.scalars(select(app.Item)).all())

    assert app.json(view) == 2
    assert database.run("SELECT value FROM item ORDER BY id") == [10, 20]


@pytest.mark.parametrize("returned", [None, True])
def test_do_execute_listener(app: Application, returned: bool | None) -> None:
    """A listener that sends statements itself is called once for each, and sends them alone."""
    heard: list[str] = []

    @event.listens_for(app.engine, "do_execute")
    def send(cursor: Any, statement: str, parameters: Any, context: Any) -> bool | None:
        heard.extend(["read"] if "FROM item" in statement else [])
        if returned:
            if parameters:
                cursor.execute(statement, parameters)
            else:
                cursor.execute(statement)
        return returned

    assert app.json(names(app)) == ["one", "two"]
    assert len(heard) == 1


def test_handle_error_may_raise_another(app: Application) -> None:
    """The error that a listener raises is the one that the view gets, once."""
    heard: list[type[BaseException]] = []

    @event.listens_for(app.engine, "handle_error")
    def translate(context: Any) -> None:
        heard.append(type(context.sqlalchemy_exception))
        raise LookupError("translated")

    def view() -> str:
        try:
            app.session.execute(text("SELECT nothing FROM item"))
        except LookupError as error:
            return str(error)
        return "no error"

    assert app.json(view) == "translated"
    assert len(heard) == 1


@on("postgresql", "mariadb")
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_handle_error_may_write_elsewhere(
    app: Application, database: Database, method: str
) -> None:
    """An audit row that a listener writes through another connection is stored, once."""

    @event.listens_for(app.engine, "handle_error")
    def audit(context: Any) -> None:
        database.run("INSERT INTO item (name) VALUES ('audited')")

    def view() -> str:
        try:
            app.session.execute(text("SELECT nothing FROM item"))
        except DBAPIError as error:
            return type(error).__name__
        return "no error"

    assert app.json(view, method) in ("ProgrammingError", "OperationalError")
    assert database.names() == ["one", "two", "audited"]


def test_soft_delete(make: Make, database: Database) -> None:
    """Criteria that a listener adds hold for selects and for lazy loads."""
    app = make()
    database.run("UPDATE item SET deleted = 1 WHERE name = 'two'")
    calls: list[bool] = []

    @event.listens_for(app.db.session, "do_orm_execute")
    def hide(state: Any) -> None:
        calls.append(state.is_select)
        if state.is_select and not state.is_column_load and not state.is_relationship_load:
            criteria = with_loader_criteria(app.Item, lambda cls: cls.deleted == 0)
            state.statement = state.statement.options(criteria)

    found = app.json(lambda: [item.name for item in app.session.scalars(select(app.Item))])
    assert found == ["one"]
    assert calls == [True]


@pytest.mark.parametrize("when", ["before", "after"])
def test_cache_with_invoke_statement(make: Make, when: str) -> None:
    """A cache of results asks the database once, and no listener is called twice."""
    app = make()
    kept: dict[str, Any] = {}
    sent: list[str] = []
    calls: list[str] = []

    def count(state: Any) -> None:
        calls.append("count")

    @event.listens_for(app.db.session, "do_orm_execute")
    def cache(state: Any) -> Any:
        calls.append("cache")
        if "cached" not in kept:
            kept["cached"] = state.invoke_statement().freeze()
        return kept["cached"]()

    event.listen(app.db.session, "do_orm_execute", count, insert=when == "before")

    @event.listens_for(app.engine, "before_cursor_execute")
    def listener(conn: Any, cursor: Any, statement: str, *rest: Any) -> None:
        sent.append(statement)

    for _ in range(2):
        assert app.json(names(app)) == ["one", "two"]
    assert len(sent) == 1
    # one that stands behind a listener which answers is called by invoke_statement alone
    assert calls == EXPECTED_CALLS[when]


EXPECTED_CALLS = {
    "before": ["count", "cache", "count", "cache"],
    "after": ["cache", "count", "cache"],
}


def test_execution_options_of_a_listener(app: Application) -> None:
    """Options that a listener adds are those that a statement runs with, and no others leak."""
    found: list[dict[str, Any]] = []

    @event.listens_for(app.db.session, "do_orm_execute")
    def add(state: Any) -> None:
        state.update_execution_options(mark=7)

    @event.listens_for(app.engine, "before_cursor_execute")
    def listener(conn: Any, cursor: Any, statement: str, *rest: Any) -> None:
        found.append(dict(rest[1].execution_options))

    app.json(names(app))
    assert [options["mark"] for options in found] == [7]


@pytest.mark.parametrize("method", ["GET", "POST"])
@on("postgresql", "mariadb")
def test_after_begin_sets_for_the_transaction(app: Application, family: str, method: str) -> None:
    """A tenant that a listener sets as a transaction begins holds in its reads."""
    statements = {
        "postgresql": ("SET LOCAL app.tenant = '7'", "SELECT current_setting('app.tenant', true)"),
        "mariadb": ("SET @tenant = '7'", "SELECT @tenant"),
    }
    change, question = statements[family]
    calls: list[str] = []

    @event.listens_for(app.db.session, "after_begin")
    def begin(session: Session, transaction: Any, connection: Any) -> None:
        calls.append("after_begin")
        connection.exec_driver_sql(change)

    assert app.json(lambda: [app.session.scalar(text(question)) for _ in "ab"], method) == ["7"] * 2
    assert len(calls) == 1


def test_session_events(make: Make) -> None:
    """The events of a session come in the order and number of the plain application."""
    heard: list[str] = []
    app = make()
    for name in (
        "after_begin", "before_flush", "after_flush", "before_commit", "after_commit",
        "after_rollback", "after_soft_rollback", "after_transaction_create",
        "after_transaction_end", "do_orm_execute",
    ):  # fmt: skip
        event.listen(app.db.session, name, lambda *_, name=name: heard.append(name))

    def view() -> str:
        app.session.scalars(select(app.Item)).all()
        app.session.add(app.Item(name="three"))
        app.session.commit()
        app.session.scalar(select(func.count()).select_from(app.Item))
        return "done"

    assert app.json(view, "POST") == "done"
    assert heard == [
        "do_orm_execute", "after_transaction_create", "after_begin", "before_commit",
        "before_flush", "after_transaction_create", "after_flush", "after_transaction_end",
        "after_commit", "after_transaction_end", "do_orm_execute", "after_transaction_create",
        "after_begin", "after_transaction_end",
    ]  # fmt: skip


def test_work_in_before_commit_and_after_commit(app: Application, database: Database) -> None:
    """What is written before a commit is in it; what fails in it takes all away."""

    @event.listens_for(app.db.session, "before_commit")
    def audit(session: Session) -> None:
        session.execute(insert(app.Item).values(name="audited"))

    def view() -> str:
        app.session.add(app.Item(name="three"))
        app.session.commit()
        return "done"

    app.json(view, "POST")
    assert sorted(database.names()) == ["audited", "one", "three", "two"]


class OwnSession(Session):
    """A session that counts what it executes."""

    executed = 0

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        """Count, and execute."""
        OwnSession.executed += 1
        return super().execute(*args, **kwargs)


@pytest.mark.parametrize(
    "options",
    [
        {"expire_on_commit": False},
        {"autoflush": False},
        {"autobegin": True, "info": {"tenant": 7}},
        {"scopefunc": lambda: 1},
        {"enable_baked_queries": False},
        {"close_resets_only": True},
        {"twophase": False, "join_transaction_mode": "conditional_savepoint"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_session_options(make: Make, database: Database, options: dict[str, Any]) -> None:
    """The options of a session hold."""
    app = make(db=extension(session_options=dict(options)))

    def view() -> bool:
        item = app.Item(name="three")
        app.session.add(item)
        app.session.commit()
        session = app.session()
        held = (
            all(
                getattr(session, name) == options[name]
                for name in ("expire_on_commit", "autoflush")
                if name in options
            )
            and session.info.items() >= options.get("info", {}).items()
        )
        return held and item.name == "three" and "three" in names(app)()

    assert app.json(view, "POST") is True
    assert database.names() == ["one", "two", "three"]
    with app.flask.app_context():
        app.session.remove()


@pytest.mark.filterwarnings("ignore")
def test_session_class_of_its_own(make: Make) -> None:
    """A session class of the application is the one that it gets, called once for each."""
    from flask_sqlalchemy.session import Session as FlaskSession  # noqa: PLC0415

    class Mine(OwnSession, FlaskSession):
        """The session of this application."""

        def get_bind(self, *args: Any, **kwargs: Any) -> Any:
            """Give the bind as the extension does."""
            return super().get_bind(*args, **kwargs)

    app = make(db=extension(session_options={"class_": Mine}))
    OwnSession.executed = 0
    assert app.json(lambda: app.session.execute(text("SELECT 1")).scalar()) == 1
    assert OwnSession.executed == 1
    assert app.json(lambda: type(app.session()).__name__) == "Mine"


def test_error_of_a_listener_reaches_the_view(app: Application) -> None:
    """What a listener of a commit raises is what the view gets, and nothing is stored."""

    @event.listens_for(app.db.session, "before_commit")
    def refuse(session: Session) -> None:
        raise LookupError("refused")

    def view() -> Response:
        app.session.add(app.Item(name="three"))
        try:
            app.session.commit()
        except LookupError as error:
            app.session.rollback()
            return Response(str(error))
        return Response("stored")

    assert app.ask(view, "POST").text == "refused"
    assert app.json(names(app)) == ["one", "two"]


def test_engine_events_of_transactions(app: Application) -> None:
    """Begin, commit and rollback are heard as often as they are on the plain application."""
    heard: list[str] = []
    for name in ("begin", "commit", "rollback"):
        event.listen(app.engine, name, lambda _, name=name: heard.append(name))

    def view() -> str:
        app.session.add(app.Item(name="three"))
        app.session.commit()
        names(app)()
        app.session.rollback()
        return "done"

    app.json(view, "POST")
    assert heard == ["begin", "commit", "begin", "rollback"]


@on("mariadb", "postgresql")
def test_a_reset_listener_finds_the_transaction(app: Application, database: Database) -> None:
    """It comes before the pool's ROLLBACK, and may store what a raw connection wrote."""

    @event.listens_for(app.engine, "reset")
    def store(connection: Any, record: Any, state: Any) -> None:
        if not (state.transaction_was_reset or state.terminate_only):
            connection.commit()

    def view() -> str:
        connection = app.db.engine.raw_connection()
        connection.cursor().execute("INSERT INTO item (name) VALUES ('raw')")
        connection.close()
        return "stored"

    for method in ("POST", "GET"):
        database.run("DELETE FROM item WHERE name = 'raw'")
        assert app.ask(view, method).status_code == 200
        assert database.names() == ["one", "two", "raw"]


@on("postgresql")
def test_a_reset_listener_that_discards_all(make: Make) -> None:
    """The recipe of SQLAlchemy's documentation: no later request misses a prepared statement."""
    app = make(SQLALCHEMY_ENGINE_OPTIONS={"pool_size": 1, "pool_reset_on_return": None})

    @event.listens_for(app.engine, "reset")
    def discard(connection: Any, record: Any, state: Any) -> None:
        if not state.terminate_only:
            connection.rollback()
            connection.autocommit = True
            connection.execute("DISCARD ALL")
            connection.autocommit = False

    for _ in range(40):
        assert app.json(names(app)) == ["one", "two"]


@on("mariadb")
def test_a_connection_that_threads_share_in_turn_is_kept(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Statements of other threads that have ended, and a commit, are no reason to drop it."""
    app = make(SQLALCHEMY_ENGINE_OPTIONS={"pool_size": 1, "max_overflow": 0})

    def view() -> str:
        with ThreadPoolExecutor(1) as other, app.db.engine.connect() as connection:
            other.submit(connection.execute, text("SET @who = 'ann'")).result()
            other.submit(connection.execute, text("INSERT INTO item (name) VALUES ('t')")).result()
            connection.commit()
        return "stored"

    assert app.ask(view, "POST").status_code == 200
    assert app.json(lambda: app.session.scalar(text("SELECT @who"))) == "ann"
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []
