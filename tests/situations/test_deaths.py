"""A connection that dies before a read of a GET: the view does not notice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask_sqlalchemy.pagination import Pagination
from sqlalchemy import event, func, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import selectinload

from .applications import POOL, Application
from .conftest import Make
from .databases import Database, on

# the plain application answers 500 here
pytestmark = pytest.mark.parametrize("side", [POOL], indirect=True)


def page(app: Application) -> Pagination:
    """Give a page of items, which takes two reads."""
    return app.db.paginate(select(app.Item).order_by(app.Item.id), per_page=1)


class Work:
    """Reads of an application, after one of its items was loaded."""

    def __init__(self, app: Application, one: Any = None) -> None:
        self.app, self.one = app, one
        self.session, self.Item, self.Child = app.session, app.Item, app.Child

    def by_name(self) -> Any:
        """Select an item by its name."""
        return select(self.Item).filter_by(name="two")

    def selectin(self) -> Any:
        """Load items and their children in two reads."""
        query = select(self.Item).options(selectinload(self.Item.children)).order_by(self.Item.id)
        return [len(item.children) for item in self.session.scalars(query)]

    def join(self) -> Any:
        """Select through a join."""
        query = select(self.Child.name).join(self.Item, self.Item.id == self.Child.item_id)
        return self.session.scalar(query.order_by(self.Child.id).limit(1))

    def union(self) -> Any:
        """Select from two tables."""
        return sorted(self.session.scalars(select(self.Item.name).union(select(self.Child.name))))

    def run(self, statement: str, **parameters: Any) -> list[Any]:
        """Run a text."""
        return list(self.session.execute(text(statement), parameters).scalars())


READS: dict[str, tuple[Callable[[Work], Any], Any]] = {
    "scalars": (lambda w: w.session.scalars(select(w.Item.name).order_by(w.Item.id)).all(),
                ["one", "two"]),
    "scalar": (lambda w: w.session.scalar(select(func.max(w.Item.value))), 20),
    "count": (lambda w: w.session.scalar(select(func.count()).select_from(w.Item)), 2),
    "core": (lambda w: w.run("SELECT name FROM item ORDER BY id"), ["one", "two"]),
    "core_table": (lambda w: w.session.execute(select(w.Item.__table__.c.id)).scalars().all(),
                   [1, 2]),
    "parameters": (lambda w: w.run("SELECT name FROM item WHERE id = :id", id=2), ["two"]),
    "get": (lambda w: w.session.get(w.Item, 2).name, "two"),
    "get_or_404": (lambda w: w.app.db.get_or_404(w.Item, 2).name, "two"),
    "one_or_404": (lambda w: w.app.db.one_or_404(w.by_name()).id, 2),
    "refresh": (lambda w: w.session.refresh(w.one) or w.one.value, 10),
    "expired": (lambda w: w.session.expire(w.one) or w.one.value, 10),
    "lazy": (lambda w: [child.name for child in w.one.children], ["kid", "brat"]),
    "selectin": (Work.selectin, [2, 0]),
    "query": (lambda w: w.session.query(w.Item).filter_by(name="two").one().id, 2),
    "query_count": (lambda w: w.session.query(w.Item).count(), 2),
    "paginate": (lambda w: page(w.app).total, 2),
    "join": (Work.join, "kid"),
    "exists": (lambda w: bool(w.session.scalar(select(select(w.Item).exists()))), True),
    "union": (Work.union, ["brat", "kid", "one", "two"]),
}  # fmt: skip


@on("postgresql")
@pytest.mark.parametrize("name", READS)
def test_killed_before_a_read(app: Application, database: Database, name: str) -> None:
    """The answer is the undisturbed one, and what was loaded before stays usable."""
    read, expected = READS[name]

    def view(*, kill: bool) -> Any:
        one, two = app.session.scalars(select(app.Item).order_by(app.Item.id))
        if kill:
            assert database.kill() == 1
        found = read(Work(app, one))
        return [found, one.name, one.value, two.name, one in app.session, len(one.children)]

    undisturbed = app.json(lambda: view(kill=False))
    assert undisturbed == [expected, "one", 10, "two", True, 2]
    assert app.json(lambda: view(kill=True)) == undisturbed


@on("postgresql")
def test_listener_is_called_once(app: Application, database: Database) -> None:
    """A session's listener hears of a read once, though it was sent twice."""
    calls: list[Any] = []
    event.listen(app.db.session, "do_orm_execute", calls.append)

    def view(*, kill: bool) -> Any:
        app.session.scalar(text("SELECT 1"))
        if kill:
            database.kill()
        return app.session.scalar(text("SELECT 2"))

    assert app.json(lambda: view(kill=False)) == 2
    assert len(calls) == 2
    assert app.json(lambda: view(kill=True)) == 2
    assert len(calls) == 4


@on("postgresql", "mariadb")
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("pre_ping", [False, True])
def test_killed_in_the_pool(make: Make, database: Database, method: str, pre_ping: bool) -> None:
    """An idle connection that died is replaced before anyone notices, pinged or not."""
    app = make(SQLALCHEMY_ENGINE_OPTIONS={"pool_pre_ping": pre_ping})

    def view() -> Any:
        app.session.add(app.Item(name="three"))
        app.session.flush()
        return app.session.scalar(select(func.count()).select_from(app.Item))

    assert app.json(view, method) == 3
    assert database.kill() == 1
    assert app.json(view, method) == 3


@on("postgresql", "mariadb")
@pytest.mark.parametrize("name", ["scalars", "core", "get", "query"])
def test_killed_before_the_first_read(app: Application, database: Database, name: str) -> None:
    """A connection that dies between its checkout and the first read of a transaction."""
    read, expected = READS[name]
    armed = [True]

    @event.listens_for(app.engine, "checkout")
    def kill(connection: Any, record: Any, proxy: Any) -> None:
        if armed:
            armed.clear()
            database.kill()

    assert app.json(lambda: read(Work(app))) == expected
    assert not armed


@on("postgresql")
def test_pre_ping_keeps_the_promise_for_reads(make: Make, database: Database) -> None:
    """With pool_pre_ping a read whose connection dies is run once more all the same."""
    app = make(SQLALCHEMY_ENGINE_OPTIONS={"pool_pre_ping": True})

    def view() -> Any:
        first = app.session.scalar(text("SELECT 1"))
        database.kill()
        return [first, app.session.scalar(text("SELECT 2"))]

    assert app.json(view) == [1, 2]


def after_a_write(app: Application) -> Any:
    """Write first."""
    app.session.add(app.Item(name="three"))
    app.session.flush()


def with_changes(app: Application) -> Any:
    """Have something to write."""
    app.session.scalars(select(app.Item)).first().value = 5


def in_a_savepoint(app: Application) -> Any:
    """Be in a savepoint."""
    app.session.begin_nested()


def with_a_lock(app: Application) -> Any:
    """Hold a lock."""
    app.session.scalar(text("SELECT pg_advisory_lock(1)"))


def with_a_setting(app: Application) -> Any:
    """Set something."""
    app.session.execute(text("SET LOCAL work_mem = '5MB'"))


@on("postgresql")
@pytest.mark.parametrize(
    "before",
    [after_a_write, with_changes, in_a_savepoint, with_a_lock, with_a_setting],
)
def test_not_repeated_where_something_is_lost(
    app: Application, database: Database, before: Any
) -> None:
    """Where the connection held more than proven reads its death is an error."""

    def view() -> Any:
        app.session.scalar(text("SELECT 1"))
        before(app)
        database.kill()
        with app.session.no_autoflush:
            try:
                return app.session.scalar(text("SELECT 2"))
            except OperationalError as error:
                return error.connection_invalidated

    assert app.json(view) is True


@on("postgresql", "mariadb")
def test_dead_before_commit(app: Application, database: Database) -> None:
    """Nothing was saved, and the answer says so: 503 that may be repeated."""
    app.flask.config["PROPAGATE_EXCEPTIONS"] = False

    def view() -> Any:
        app.session.add(app.Item(name="three"))
        app.session.flush()
        database.kill()
        app.session.commit()
        return "stored"

    answer = app.ask(view, "POST")
    assert answer.status_code == 503
    assert "Retry-After" in answer.headers
    assert database.names() == ["one", "two"]


@on("postgresql", "mariadb")
def test_rollback_after_a_dead_commit(app: Application, database: Database) -> None:
    """A view that catches it may roll back and write again."""

    def view() -> Any:
        app.session.add(app.Item(name="three"))
        app.session.flush()
        database.kill()
        try:
            app.session.commit()
        except OperationalError as error:
            app.session.rollback()
            app.session.add(app.Item(name="again"))
            app.session.commit()
            return error.connection_invalidated
        return "stored"

    assert app.json(view, "POST") is True
    assert database.names() == ["one", "two", "again"]
