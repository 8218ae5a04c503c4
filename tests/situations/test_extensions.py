"""Flask's extensions and trackers, with the database of the application."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from flask import session
from sqlalchemy import event, func, select, text
from sqlalchemy.exc import DBAPIError, InvalidRequestError

from .applications import POOL, Application, extension
from .conftest import Make
from .databases import Database, on

# what they warn of is theirs
pytestmark = pytest.mark.filterwarnings("ignore")

COUNT = text("SELECT count(*) FROM item")


def put(app: Application, name: str) -> None:
    """Store an item."""
    app.session.add(app.Item(name=name))
    app.session.commit()


@on("postgresql", "sqlite")
def test_flask_login(app: Application, database: Database) -> None:
    """A user that the loader reads is changed by the view, on one connection."""
    flask_login = pytest.importorskip("flask_login")
    manager = flask_login.LoginManager(app.flask)
    taken: list[Any] = []
    event.listen(app.engine, "checkout", lambda *args: taken.append(args))

    class User(flask_login.UserMixin):  # type: ignore[misc,name-defined]
        """An item that logs in."""

        def __init__(self, item: Any) -> None:
            self.item, self.id = item, str(item.id)

    manager.user_loader(lambda key: User(app.session.get(app.Item, int(key))))

    def log_in() -> str:
        flask_login.login_user(User(app.session.get(app.Item, 1)))
        return "in"

    @flask_login.login_required  # type: ignore[untyped-decorator]
    def change() -> str:
        flask_login.current_user.item.value = 77
        app.session.commit()
        return str(flask_login.current_user.item.name)

    paths = app.path(log_in), app.path(change)
    with app.flask.test_client() as client:
        assert client.post(paths[0]).text == "in"
        for method in ("GET", "POST"):
            taken.clear()
            assert client.open(paths[1], method=method).text == "one"
            assert len(taken) == 2  # before the commit and after it
    assert database.run("SELECT value FROM item WHERE id = 1") == [77]


def test_flask_admin(app: Application, database: Database) -> None:
    """Lists, forms and their saving."""
    flask_admin = pytest.importorskip("flask_admin")
    views = pytest.importorskip("flask_admin.contrib.sqla")

    class ItemView(views.ModelView):  # type: ignore[misc,name-defined]
        """Items, without their children."""

        form_columns = ("name", "value")
        column_searchable_list = ("name",)

    admin = flask_admin.Admin(app.flask)
    admin.add_view(ItemView(app.Item, app.db.session))
    with app.flask.test_client() as client:
        assert "two" in client.get("/admin/item/").text
        assert "two" not in client.get("/admin/item/?search=one").text
        added = client.post("/admin/item/new/", data={"name": "three", "value": "3"})
        assert added.status_code == 302
        changed = client.post("/admin/item/edit/?id=1", data={"name": "uno", "value": "1"})
        assert changed.status_code == 302
        assert client.post("/admin/item/delete/", data={"id": "2"}).status_code == 302
    assert sorted(database.names()) == ["three", "uno"]


def test_flask_session(make: Make, database: Database) -> None:
    """Sessions in a table are written after the view of a GET."""
    flask_session = pytest.importorskip("flask_session")
    db = extension()
    app = make(
        db=db, SESSION_TYPE="sqlalchemy", SESSION_SQLALCHEMY=db, SESSION_SQLALCHEMY_TABLE="sessions"
    )
    flask_session.Session(app.flask)

    def count() -> str:
        app.session.scalar(COUNT)
        session["seen"] = session.get("seen", 0) + 1
        return str(session["seen"])

    path = app.path(count)
    with app.flask.test_client() as client:
        assert [client.get(path).text for _ in range(3)] == ["1", "2", "3"]
    assert database.run("SELECT count(*) FROM sessions") == [1]


@on("postgresql")
def test_flask_caching(app: Application) -> None:
    """A cached view reads once."""
    caching = pytest.importorskip("flask_caching")
    cache = caching.Cache(app.flask, config={"CACHE_TYPE": "SimpleCache"})
    sent: list[Any] = []
    event.listen(app.engine, "checkout", lambda *args: sent.append(args))

    @cache.memoize(60)  # type: ignore[untyped-decorator]
    def count() -> int:
        found: int = app.session.scalar(COUNT)
        return found

    assert [app.json(count) for _ in range(3)] == [2, 2, 2]
    assert len(sent) == 1


@on("postgresql")
def test_flask_limiter(app: Application) -> None:
    """A limit answers 429 without a connection."""
    limiter = pytest.importorskip("flask_limiter")
    taken: list[Any] = []
    event.listen(app.engine, "checkout", lambda *args: taken.append(args))
    limits = limiter.Limiter(lambda: "client", app=app.flask, storage_uri="memory://")
    view = limits.limit("2 per hour")(lambda: str(app.session.scalar(COUNT)))
    path = app.path(view)
    with app.flask.test_client() as client:
        assert [client.get(path).status_code for _ in range(4)] == [200, 200, 429, 429]
    assert len(taken) == 2


def small(make: Make, side: str) -> Application:
    """Make an application with one connection."""
    if side == POOL:
        return make(
            PROPAGATE_EXCEPTIONS=False,
            SQLALCHEMY_POOL_SIZE=1,
            SQLALCHEMY_MAX_OVERFLOW=0,
            SQLALCHEMY_POOL_TIMEOUT=0.2,
        )
    options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.2}
    return make(PROPAGATE_EXCEPTIONS=False, SQLALCHEMY_ENGINE_OPTIONS=options)


@on("postgresql", "mariadb")
def test_flask_restx(make: Make, database: Database, side: str) -> None:
    """Resources write with GET, need no mark, and an exhausted pool is 503 in them too."""
    restx = pytest.importorskip("flask_restx")
    app = small(make, side)
    api = restx.Api(app.flask)

    class Counter(restx.Resource):  # type: ignore[misc,name-defined]
        """Counts an item up."""

        def get(self) -> Any:
            """Count up."""
            item = app.session.get(app.Item, 1)
            item.value += 1
            app.session.commit()
            return {"value": item.value}

        post = get

    api.add_resource(Counter, "/counter")
    with app.flask.test_client() as client:
        assert client.get("/counter").json == {"value": 11}
        assert client.post("/counter").json == {"value": 12}
        with app.engine.connect():
            answer = client.get("/counter")
        assert answer.status_code == (503 if side == POOL else 500)
        assert ("Retry-After" in answer.headers) == (side == POOL)
    assert database.run("SELECT value FROM item WHERE id = 1") == [12]


@on("postgresql", "sqlite")
def test_flask_socketio(app: Application, database: Database) -> None:
    """Messages read and write, each with a session of its own."""
    socketio = pytest.importorskip("flask_socketio")
    io = socketio.SocketIO(app.flask, async_mode="threading")

    @io.on("put")  # type: ignore[untyped-decorator]
    def receive(name: str) -> int:
        put(app, name)
        found: int = app.session.scalar(COUNT)
        return found

    client = io.test_client(app.flask)
    assert client.emit("put", "three", callback=True) == 3
    assert client.emit("put", "four", callback=True) == 4
    client.disconnect()
    pool: Any = app.engine.pool
    assert pool.checkedout() == 0
    assert database.names() == ["one", "two", "three", "four"]


@on("postgresql", "sqlite")
def test_apscheduler(app: Application, database: Database) -> None:
    """Jobs of a scheduler's threads read and write."""
    schedulers = pytest.importorskip("apscheduler.schedulers.background")
    done = threading.Semaphore(0)

    def job(name: str) -> None:
        with app.flask.app_context():
            app.session.scalar(COUNT)
            put(app, name)
        done.release()

    scheduler = schedulers.BackgroundScheduler()
    scheduler.start()
    for name in ("three", "four"):
        scheduler.add_job(job, args=[name])
    assert all(done.acquire(timeout=20) for _ in range(2))
    scheduler.shutdown()
    assert sorted(database.names()) == ["four", "one", "three", "two"]


@on("postgresql", "sqlite")
def test_celery(app: Application, database: Database) -> None:
    """A task that a view calls at once, in a context of its own as Flask's pattern has it."""
    celery = pytest.importorskip("celery")

    class Task(celery.Task):  # type: ignore[misc,name-defined]
        """A task with a context."""

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            """Run in an application context."""
            with app.flask.app_context():
                return self.run(*args, **kwargs)

    tasks = celery.Celery("situations", task_cls=Task, broker="memory://")
    tasks.conf.update(task_always_eager=True, task_eager_propagates=True)

    @tasks.task  # type: ignore[untyped-decorator]
    def work(name: str) -> int:
        put(app, name)
        found: int = app.session.scalar(COUNT)
        return found

    def view() -> Any:
        item = app.session.get(app.Item, 1)
        found = work.delay("three").get()
        return [item.name, found, item in app.session]

    assert app.json(view, "GET") == ["one", 3, True]
    assert database.names() == ["one", "two", "three"]


@pytest.fixture
def sentry(app: Application) -> Iterator[list[dict[str, Any]]]:
    """Give the events that Sentry would send."""
    sentry_sdk = pytest.importorskip("sentry_sdk")
    flask = pytest.importorskip("sentry_sdk.integrations.flask")
    sqlalchemy = pytest.importorskip("sentry_sdk.integrations.sqlalchemy")
    events: list[dict[str, Any]] = []
    sentry_sdk.init(
        dsn="http://key@127.0.0.1:9/1",
        default_integrations=False,
        integrations=[flask.FlaskIntegration(), sqlalchemy.SqlalchemyIntegration()],
        before_send=lambda event, _hint: events.append(event),
    )
    yield events
    sentry_sdk.init()


def lock_timeout(app: Application, database: Database) -> Any:
    """Wait for a lock in vain."""
    with app.db.engine.connect() as other:
        other.execute(text("UPDATE item SET value = 1"))
        app.session.execute(text("SET LOCAL lock_timeout = '50ms'"))
        app.session.execute(text("UPDATE item SET value = 2"))


def statement_timeout(app: Application, database: Database) -> Any:
    """Run for too long."""
    app.session.execute(text("SET LOCAL statement_timeout = '50ms'"))
    app.session.execute(text("SELECT pg_sleep(9)"))


def dead(app: Application, database: Database) -> Any:
    """Lose the connection after a write."""
    app.session.execute(text("UPDATE item SET value = 1"))
    database.kill()
    app.session.commit()


def typo(app: Application, database: Database) -> Any:
    """Say something wrong."""
    app.session.execute(text("SELEC 1"))


def exhausted(app: Application, database: Database) -> Any:
    """Want more connections than there are."""
    kept = []
    try:
        while True:
            kept.append(app.db.engine.connect())
    finally:
        for one in kept:
            one.close()


@on("postgresql")
@pytest.mark.parametrize("failure", [lock_timeout, statement_timeout, dead, typo, exhausted])
def test_sentry(
    make: Make, database: Database, side: str, sentry: list[dict[str, Any]], failure: Any
) -> None:
    """A tracker has one event for each failure, whatever it is answered with."""
    app = small(make, side) if failure is exhausted else make(PROPAGATE_EXCEPTIONS=False)
    answer = app.ask(lambda: {"found": failure(app, database)}, "POST")
    passes = side == POOL and failure is not typo
    assert answer.status_code == (503 if passes else 500)
    assert len(sentry) == 1
    assert sentry[0]["exception"]["values"][-1]["type"]


@on("postgresql")
def test_error_handlers_of_the_application_come_first(app: Application, database: Database) -> None:
    """A handler that an application has for the errors of SQLAlchemy answers."""
    app.flask.register_error_handler(DBAPIError, lambda error: (type(error.orig).__name__, 418))
    answer = app.ask(lambda: {"found": statement_timeout(app, database)}, "POST")
    assert (answer.status_code, answer.text) == (418, "QueryCanceled")


@pytest.fixture
def spans() -> Iterator[Any]:
    """Give a provider of traces and the spans that ended."""
    trace = pytest.importorskip("opentelemetry.sdk.trace")
    export = pytest.importorskip("opentelemetry.sdk.trace.export")
    memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    exporter = memory.InMemorySpanExporter()
    provider = trace.TracerProvider()
    provider.add_span_processor(export.SimpleSpanProcessor(exporter))
    yield provider, exporter
    provider.shutdown()


INSTRUMENTED = [("postgresql", "psycopg"), ("mariadb", "pymysql")]


@pytest.mark.parametrize(
    ("family", "driver"),
    [pytest.param(*one, marks=pytest.mark.servers) for one in INSTRUMENTED],
    indirect=["family"],
)
def test_opentelemetry_of_a_driver(
    make: Make, database: Database, spans: Any, undo: Any, driver: str
) -> None:
    """Each statement of a view is a span, with the driver's own instrumentation."""
    name = {"psycopg": "PsycopgInstrumentor", "pymysql": "PyMySQLInstrumentor"}[driver]
    module = pytest.importorskip(f"opentelemetry.instrumentation.{driver}")
    provider, exporter = spans
    instrumentor = getattr(module, name)()
    instrumentor.instrument(tracer_provider=provider, skip_dep_check=True)
    undo(instrumentor.uninstrument)
    app = make()
    app.json(lambda: app.session.scalar(COUNT))
    exporter.clear()

    def view() -> Any:
        found = app.session.scalars(select(app.Item.name).order_by(app.Item.id)).all()
        put(app, f"n{time.monotonic_ns()}")
        return [*found[:2], app.session.scalar(select(func.count()).select_from(app.Item))]

    assert app.json(view) == ["one", "two", 3]
    sent = [span.name for span in exporter.get_finished_spans()]
    assert [name for name in sent if name in ("SELECT", "INSERT")] == ["SELECT", "INSERT", "SELECT"]


@on("postgresql", "mariadb", "sqlite")
def test_opentelemetry_of_sqlalchemy(make: Make, spans: Any, undo: Any) -> None:
    """Each statement of a view is a span, with SQLAlchemy's instrumentation of an engine."""
    pytest.importorskip("greenlet")  # which it imports
    module = pytest.importorskip("opentelemetry.instrumentation.sqlalchemy")
    provider, exporter = spans
    app = make()
    instrumentor = module.SQLAlchemyInstrumentor()
    instrumentor.instrument(engine=app.engine, tracer_provider=provider, skip_dep_check=True)

    def uninstrument() -> None:
        # it would remove listeners of engines that are gone
        with contextlib.suppress(InvalidRequestError):
            instrumentor.uninstrument()

    undo(uninstrument)
    app.json(lambda: app.session.scalar(COUNT))
    exporter.clear()
    assert app.json(lambda: app.session.scalar(COUNT)) == 2
    sent = [span.name.split()[0] for span in exporter.get_finished_spans()]
    assert sent.count("SELECT") == 1
