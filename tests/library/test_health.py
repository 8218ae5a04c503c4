"""What an orchestrator sees of an application that uses the library."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic

import pytest
import servers
from flask import Flask, json
from flask.testing import FlaskClient
from flask_migrate import Migrate, upgrade
from flask_pool import Pool, health
from flask_sqlalchemy import SQLAlchemy
from werkzeug.exceptions import HTTPException

from .migrating import Folder

USERS = 'op.create_table("users", Column("id", Integer, primary_key=True))'

MakeApp = Callable[..., Flask]


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with much to do is no reason for an answer."""
    monkeypatch.setattr(health, "ANSWER_WITHIN", 30)


@pytest.fixture
def make_app(tmp_path: Path) -> Iterator[MakeApp]:
    """Give a function that makes an application of two connections, with or without the pool."""
    made: list[Flask] = []

    def make(url: str, folder: Folder | None = None, *, pooled: bool = True) -> Flask:
        app, db = Flask("library_tests", instance_path=str(tmp_path)), SQLAlchemy()
        app.config["SQLALCHEMY_DATABASE_URI"] = url
        app.config["SQLALCHEMY_POOL_SIZE"] = 2
        app.config["SQLALCHEMY_MAX_OVERFLOW"] = 0
        if pooled:
            Pool().init_app(app, db)
        else:
            db.init_app(app)
        if folder is not None:
            Migrate(app, db, directory=str(folder.path))
        app.register_blueprint(health.bp)
        made.append(app)
        return app

    yield make
    for app in made:
        with app.app_context():
            app.extensions["sqlalchemy"].engine.dispose()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Give a folder with one migration."""
    found = Folder(tmp_path / "migrations")
    found.add("one", USERS)
    return found


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Give the URL of a file of SQLite."""
    return f"sqlite:///{tmp_path / 'app.db'}"


def reason(client: FlaskClient) -> str:
    """Give why the application is not ready."""
    response = client.get("/healthz/ready")
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "1"
    assert response.content_type == "application/problem+json"
    problem = json.loads(response.text)
    assert problem["title"] == "Service Unavailable"
    assert problem["status"] == 503
    return str(problem["reason"])


@pytest.mark.parametrize("pooled", [True, False])
def test_without_migrations_a_database_that_answers_is_ready(
    make_app: MakeApp, url: str, pooled: bool
) -> None:
    """With the pool and with SQLAlchemy's own."""
    client = make_app(url, pooled=pooled).test_client()

    assert client.get("/healthz/ready").get_json() == {"status": "ready"}


def test_a_folder_that_is_not_there_is_no_schema(
    make_app: MakeApp, url: str, tmp_path: Path
) -> None:
    """A service may be installed without its migrations."""
    empty = Folder(tmp_path / "elsewhere")
    (empty.path / "env.py").unlink()

    assert make_app(url, empty).test_client().get("/healthz/ready").status_code == 200


def test_a_folder_without_a_revision_yet_asks_for_nothing(
    make_app: MakeApp, url: str, tmp_path: Path
) -> None:
    """An application that has just begun is ready."""
    app = make_app(url, Folder(tmp_path / "empty"))

    assert app.test_client().get("/healthz/ready").status_code == 200


def test_a_schema_is_unmigrated_until_its_newest_revision(
    make_app: MakeApp, url: str, folder: Folder, tmp_path: Path
) -> None:
    """A newer one is fine: in a rolling update the old version goes on."""
    app = make_app(url, folder)
    client = app.test_client()
    assert reason(client) == "unmigrated"

    with app.app_context():
        upgrade()
    assert client.get("/healthz/ready").status_code == 200

    newer = Folder(tmp_path / "newer")
    newer.add("one", USERS)
    newer.add("two", "pass")
    later = make_app(url, newer)
    assert reason(later.test_client()) == "unmigrated"

    with later.app_context():
        upgrade()
    assert later.test_client().get("/healthz/ready").status_code == 200
    assert client.get("/healthz/ready").status_code == 200


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:////nowhere/to/be/found.db",
        "postgresql+psycopg://nobody:secret@127.0.0.1:1/none",
        "mysql+pymysql://nobody:secret@127.0.0.1:1/none",
    ],
)
def test_a_database_that_is_away_is_unreachable(make_app: MakeApp, url: str) -> None:
    """Whatever its driver raises."""
    assert reason(make_app(url).test_client()) == "unreachable"


def test_a_pool_without_a_free_connection_is_exhausted(
    make_app: MakeApp, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ready again once a connection is given back."""
    monkeypatch.setattr(health, "ANSWER_WITHIN", 0.1)
    app = make_app(url)
    engine = app.extensions["pool"].engines["default"]
    taken = [engine.connect() for _ in range(2)]

    assert reason(app.test_client()) == "exhausted"

    monkeypatch.setattr(health, "ANSWER_WITHIN", 30)
    for connection in taken:
        connection.close()
    assert app.test_client().get("/healthz/ready").status_code == 200


def test_a_server_that_is_silent_is_unreachable_within_a_second(
    make_app: MakeApp,
    postgresql: servers.PostgreSQL,
    proxy: Callable[[int], servers.Proxy],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each probe is answered in time, and the same look at the database serves them all."""
    monkeypatch.setattr(health, "ANSWER_WITHIN", 1.0)
    between = proxy(postgresql.port)
    client = make_app(postgresql.url(port=between.port)).test_client()
    assert client.get("/healthz/ready").status_code == 200

    between.silence()
    for _ in range(2):
        begun = monotonic()
        assert reason(client) == "unreachable"
        assert monotonic() - begun < servers.paced(1.5)
    between.speak()


def test_a_server_that_takes_no_changes_is_read_only(
    make_app: MakeApp, postgresql: servers.PostgreSQL, mariadb: servers.MariaDB
) -> None:
    """The same for PostgreSQL and MariaDB."""
    name = postgresql.create_database()
    postgresql.rows(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    assert reason(make_app(postgresql.url(name)).test_client()) == "read_only"

    client = make_app(mariadb.url()).test_client()
    assert client.get("/healthz/ready").status_code == 200
    mariadb.rows("SET GLOBAL read_only = 1")
    try:
        assert reason(client) == "read_only"
    finally:
        mariadb.rows("SET GLOBAL read_only = 0")


def test_an_application_formats_it_as_its_other_errors(
    make_app: MakeApp, url: str, folder: Folder
) -> None:
    """The reason is an attribute of the exception."""
    app = make_app(url, folder)

    @app.errorhandler(HTTPException)
    def problem(error: HTTPException) -> tuple[dict[str, object], int]:
        return {"own": True, "why": getattr(error, "reason", None)}, error.code or 500

    response = app.test_client().get("/healthz/ready")

    assert response.status_code == 503
    assert response.get_json() == {"own": True, "why": "unmigrated"}


def test_being_alive_takes_no_connection(make_app: MakeApp) -> None:
    """The database may be away."""
    client = make_app("postgresql+psycopg://nobody:secret@127.0.0.1:1/none").test_client()

    assert client.get("/healthz/live").get_json() == {"status": "live"}
