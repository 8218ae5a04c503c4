"""What an application has by names that the library uses too, and what it does as it is made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, g
from flask_pool import Pool
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import event, select, text

from .applications import PLAIN, Application, Extension, extension
from .conftest import Make
from .databases import Database, on

EITHER_WAY = pytest.mark.parametrize("method", ["GET", "POST"])
COUNT = text("SELECT count(*) FROM item")


class Commits:
    """An extension that commits as a context ends, as an old setting of Flask-SQLAlchemy did."""

    def init_app(self, app: Flask) -> None:
        """Register it behind Flask-SQLAlchemy's own."""
        super().init_app(app)  # type: ignore[misc]

        @app.teardown_appcontext
        def commit(error: BaseException | None) -> None:
            self.session.commit()  # type: ignore[attr-defined]


class CommitsItself:
    """An extension whose own way to end a session commits."""

    def _teardown_session(self, error: BaseException | None) -> None:
        self.session.commit()  # type: ignore[attr-defined]
        super()._teardown_session(error)  # type: ignore[misc]


@EITHER_WAY
@pytest.mark.parametrize("flushed", [True, False])
@pytest.mark.parametrize("kind", [Commits, CommitsItself])
def test_a_commit_at_the_end(
    make: Make, database: Database, kind: type, method: str, flushed: bool
) -> None:
    """What a view has added is stored."""
    db = extension()
    db.__class__ = type("Own", (kind, Extension), {})
    app = make(db=db)

    def view() -> str:
        app.session.add(app.Item(name="added"))
        if flushed:
            app.session.flush()
        return "added"

    assert app.ask(view, method).status_code == 200
    assert database.names() == ["one", "two", "added"]


def test_a_session_is_closed_once(make: Make) -> None:
    """A session that counts its ends finds one for each request."""
    closed: list[int] = []
    session = SQLAlchemy().session.session_factory.class_

    class Counting(session):  # type: ignore[misc, valid-type]
        def close(self) -> None:
            closed.append(len(self.identity_map))
            super().close()

    app = make(db=extension(session_options={"class_": Counting}))
    one: list[Any] = []

    def view() -> str:
        one.append(app.session.get(app.Item, 1))
        return "read"

    app.ask(view)
    app.ask(view, "POST")
    assert closed == [1, 1]


@EITHER_WAY
def test_another_thing_called_pool(app: Application, method: str) -> None:
    """`app.extensions["pool"]` may be the application's own, set before or after."""
    app.flask.extensions["pool"] = ["mine"]
    assert app.json(lambda: app.session.scalar(COUNT), method) == 2
    assert app.flask.extensions["pool"] == ["mine"]


def test_another_thing_called_pool_before(side: str) -> None:
    """What was there first stays."""
    app, db = Flask("early"), SQLAlchemy()
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"
    app.extensions["pool"] = "mine"
    db.init_app(app) if side == PLAIN else Pool(app, db)
    assert app.extensions["pool"] == "mine"


@pytest.mark.parametrize(
    ("key", "value"),
    [("HOST", "https://shop.example.com/"), ("HOST", ["a", "b"]), ("PORT", 0), ("PORT", "auto")],
)
def test_keys_of_an_application_s_own(make: Make, key: str, value: Any) -> None:
    """A config key that the library does not need means what the application wants."""
    app = make(**{key: value})
    assert app.json(lambda: app.session.scalar(COUNT)) == 2
    assert app.flask.config[key] == value


def test_no_function_of_the_application_runs_as_it_is_made(side: str) -> None:
    """One that expects what a request has set would stop the start."""
    app, db = Flask("started"), SQLAlchemy()
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"
    ended: list[Any] = []
    app.before_request(lambda: setattr(g, "started", 1))
    app.teardown_appcontext(lambda _: ended.append(g.started))
    db.init_app(app) if side == PLAIN else Pool(app, db)
    app.add_url_rule("/", "view", lambda: "served")
    assert app.test_client().get("/").text == "served"
    assert ended == [1]


def test_pages_that_nobody_may_see_hide_nothing(side: str, tmp_path: Path) -> None:
    """Without a token, a page of any name and static files at the root are the application's."""
    (tmp_path / "pool.json").write_text("{}")
    app = Flask("site", static_folder=str(tmp_path), static_url_path="")
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"
    app.add_url_rule("/profile/<name>", "profile", lambda name: name)
    app.add_url_rule("/<name>", "page", lambda name: f"page {name}")
    db = SQLAlchemy()
    db.init_app(app) if side == PLAIN else Pool(app, db)
    client = app.test_client()
    assert client.get("/pool").text == "page pool"
    assert client.get("/metrics").text == "page metrics"
    assert client.post("/metrics").status_code == 405


def test_pages_that_nobody_may_see_are_not_there(side: str) -> None:
    """Without a token nothing is found."""
    app, db = Flask("bare"), SQLAlchemy()
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"
    db.init_app(app) if side == PLAIN else Pool(app, db)
    client = app.test_client()
    for path in ("/pool", "/metrics", "/pool.json"):
        found = [client.open(path, method=method).status_code for method in ("GET", "OPTIONS")]
        assert found == [404, 404], path


@EITHER_WAY
def test_execution_options_are_plain_values(app: Application, method: str) -> None:
    """A listener may write them into a comment, or copy them."""

    @event.listens_for(app.engine, "before_cursor_execute", retval=True)
    def tag(_: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> tuple[str, Any]:
        options = rest[0].execution_options
        known = {k: v for k, v in options.items() if not k.startswith("_sa")}
        return f"{statement} /* {json.dumps(known).replace(':', '')} */", parameters

    assert app.json(lambda: app.session.scalar(select(app.Item.name)), method) == "one"


@on("postgresql", "mariadb")
@EITHER_WAY
def test_a_detached_connection_is_closed(
    app: Application, database: Database, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    """Its own close() ends it on the server, though something refers to the driver's."""
    kept: list[Any] = []

    def view() -> str:
        app.session.remove()
        connection = app.db.engine.connect()
        kept.append(connection.connection.driver_connection)
        connection.detach()
        connection.execute(COUNT)
        connection.commit()
        connection.close()
        return "closed"

    assert app.ask(view, method).status_code == 200
    (one,) = kept
    assert one.closed if database.family == "postgresql" else not one.open
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []
