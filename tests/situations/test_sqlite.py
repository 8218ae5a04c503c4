"""SQLite, where one file has one writer, and in-memory databases."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from flask_migrate import Migrate, init, upgrade
from servers import paced
from sqlalchemy import event, func, select, text
from sqlalchemy.orm import Session
from werkzeug.serving import make_server

from .applications import POOL, Application
from .conftest import Make
from .databases import Database, on

pytestmark = on("sqlite")


def test_a_get_that_reads_at_random_and_writes(app: Application, database: Database) -> None:
    """300 requests of 6 clients, each of which reads a row and counts it up: each is 200."""
    app.flask.config["PROPAGATE_EXCEPTIONS"] = False

    def view() -> Any:
        query = select(app.Item).order_by(func.random()).limit(1)
        item = app.session.scalars(query).one()
        item.value = app.Item.value + 1
        app.session.commit()
        return "counted"

    path = app.path(view)

    def ask(_number: int) -> int:
        return app.flask.test_client().get(path).status_code

    with ThreadPoolExecutor(6) as clients:
        statuses = list(clients.map(ask, range(300)))
    assert statuses == [200] * 300
    assert database.run("SELECT sum(value) FROM item") == [330]


def test_a_job_waits_for_a_request_that_writes(app: Application, database: Database) -> None:
    """A job that finds what is due by the clock and marks it waits for the writer."""
    reading, done = threading.Event(), threading.Event()
    failed: list[BaseException] = []

    def job() -> None:
        with app.flask.app_context():
            try:
                due = select(app.Item).where(func.now() > "2000").order_by(app.Item.id)
                item = app.session.scalars(due).first()
                item.name = "done"
                reading.set()
                app.session.commit()
            except BaseException as error:  # noqa: BLE001 - looked at below
                failed.append(error)
            done.set()

    def view() -> str:
        app.session.add(app.Item(name="three"))
        app.session.flush()
        thread = threading.Thread(target=job)
        thread.start()
        assert reading.wait(10)
        assert not done.wait(0.3)
        app.session.commit()
        thread.join(10)
        return "written"

    assert app.json(view, "POST") == "written"
    assert failed == []
    assert database.names() == ["done", "two", "three"]


def by_engine(app: Application) -> None:
    """Write through a connection of the engine."""
    with app.db.engine.begin() as connection:
        connection.execute(text("INSERT INTO item (name) VALUES ('audit')"))


def by_session(app: Application) -> None:
    """Write through a session of its own."""
    with Session(app.db.engine) as session, session.begin():
        session.add(app.Item(name="audit"))


def by_context(app: Application) -> None:
    """Write in an inner application context."""
    with app.flask.app_context():
        app.session.add(app.Item(name="audit"))
        app.session.commit()


def by_thread(app: Application) -> None:
    """Write in a thread, and wait for it."""
    thread = threading.Thread(target=by_context, args=(app,))
    thread.start()
    thread.join()


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("write", [by_engine, by_session, by_context, by_thread])
def test_another_connection_writes_after_a_read(
    app: Application, database: Database, write: Any, method: str
) -> None:
    """A request that read something does not lock itself out."""

    def view() -> str:
        name: str = app.session.get(app.Item, 1).name
        write(app)
        return name

    assert app.json(view, method) == "one"
    assert database.names() == ["one", "two", "audit"]


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_in_memory_in_a_thread_of_a_view(make: Make, url: str) -> None:
    """A helper thread of a view uses the one connection while the view's session holds it."""
    app = make(url=url)
    with app.flask.app_context():
        app.db.create_all()

    def view() -> Any:
        app.session.add(app.Item(name="one"))
        app.session.commit()
        found = app.session.scalars(select(app.Item.name)).all()
        seen: list[int] = []

        def helper() -> None:
            with app.flask.app_context():
                seen.append(app.session.scalar(text("SELECT count(*) FROM item")))

        thread = threading.Thread(target=helper)
        thread.start()
        thread.join(20)
        return [found, seen]

    assert app.json(view, "POST") == [["one"], [1]]


def test_in_memory_server_beside_a_session(make: Make) -> None:
    """A server in a thread answers while the test's own thread holds a session."""
    app = make(url="sqlite://")
    path = app.path(lambda: str(app.session.scalar(text("SELECT count(*) FROM item"))))
    server = make_server("127.0.0.1", 0, app.flask, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with app.flask.app_context():
            app.db.create_all()
            app.session.add(app.Item(name="one"))
            app.session.commit()
            app.session.scalars(select(app.Item)).all()
            for _ in range(2):
                with urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=20) as answer:
                    assert answer.read() == b"1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("fill", ["create_all", "engine"])
def test_in_memory_keeps_its_tables(make: Make, fill: str) -> None:
    """What one context makes in memory the next one finds."""
    app = make(url="sqlite://")
    with app.flask.app_context():
        if fill == "create_all":
            app.db.create_all()
        else:
            app.db.Model.metadata.create_all(app.db.engine)
    assert app.json(lambda: app.session.scalar(text("SELECT count(*) FROM item"))) == 0


def test_a_request_does_not_wait_for_its_own_reader(app: Application) -> None:
    """With a rollback journal of the application's, a second connection opens at once."""

    @event.listens_for(app.engine, "connect")
    def own(connection: Any, record: Any) -> None:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA busy_timeout = 3000000")

    def view() -> Any:
        query = select(app.Item).execution_options(yield_per=1)
        rows = iter(app.session.scalars(query))
        next(rows)
        with app.db.engine.connect() as other:
            return [
                other.scalar(text("SELECT count(*) FROM item")),
                other.scalar(text("PRAGMA busy_timeout")),
            ]

    started = time.monotonic()
    assert app.json(view) == [2, 3000000]
    assert time.monotonic() - started < paced(4)  # SQLite waits for five seconds


MIGRATION = """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "one", None
def upgrade():
    with op.batch_alter_table("item") as batch:
        batch.alter_column("name", nullable=False, existing_type=sa.String(50))
"""


# Flask-Migrate's env.py
@pytest.mark.filterwarnings("ignore:'get_engine' is deprecated:DeprecationWarning")
@pytest.mark.parametrize("used_before", [True, False])
def test_a_batch_migration_in_flask_migrate_s_own_environment(
    app: Application, database: Database, tmp_path: Path, used_before: bool
) -> None:
    """It copies a table and drops the old one: rows that refer to it stay."""
    database.run(
        "DROP TABLE child",
        "CREATE TABLE child (id INTEGER PRIMARY KEY, name VARCHAR(50),"
        " item_id INT REFERENCES item (id) ON DELETE CASCADE)",
        "INSERT INTO child (item_id, name) VALUES (1, 'kid'), (1, 'brat')",
    )
    Migrate(app.flask, app.db)
    folder = str(tmp_path / "own")
    with app.flask.app_context():
        if used_before:
            app.session.scalar(text("SELECT count(*) FROM item"))
            app.session.remove()
        init(folder)
        (tmp_path / "own" / "versions" / "one.py").write_text(MIGRATION)
        upgrade(folder)
        assert app.session.scalar(text("SELECT count(*) FROM child")) == 2
        checked = app.session.scalar(text("PRAGMA foreign_keys"))
    assert checked == (1 if app.side == POOL else 0)
