"""The same application twice: plain Flask-SQLAlchemy, and with the pool."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask
from flask.typing import ResponseReturnValue
from flask_pool import Pool
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import ForeignKey, Integer, String
from sqlalchemy.engine import Engine
from sqlalchemy.orm import DeclarativeBase
from werkzeug.test import TestResponse

PLAIN, POOL = "plain", "pool"
SIDES = (PLAIN, POOL)
METHODS = ("GET", "HEAD", "POST")

View = Callable[[], ResponseReturnValue]


class Application:
    """A Flask application with an extension and models of its own, and views added at any time."""

    def __init__(self, side: str, url: str, *, db: Extension | None = None, **config: Any) -> None:
        self.side = side
        self.flask = Flask("situations")
        self.flask.config |= {
            "SQLALCHEMY_DATABASE_URI": url,
            "SECRET_KEY": "only-for-these-tests",
            "PROPAGATE_EXCEPTIONS": True,
            **config,
        }
        if side == PLAIN:
            for name in [name for name in self.flask.config if name in OF_THE_POOL]:
                del self.flask.config[name]
        self.db = db or extension()
        if side == POOL:
            Pool(self.flask, self.db)
        else:
            self.db.init_app(self.flask)
        self.views: list[View] = []
        self.flask.add_url_rule("/view/<int:number>", "view", self._serve, methods=METHODS)

    def _serve(self, number: int) -> ResponseReturnValue:
        return self.views[number]()

    def __getattr__(self, name: str) -> Any:
        """Give a model by its name."""
        return self.db.models[name]

    @property
    def session(self) -> Any:
        """The session of the context."""
        return self.db.session

    @property
    def engine(self) -> Engine:
        """The default engine."""
        with self.flask.app_context():
            return self.db.engine

    def path(self, view: View) -> str:
        """Add a view and give its path."""
        self.views.append(view)
        return f"/view/{len(self.views) - 1}"

    def ask(self, view: View, method: str = "GET", *, times: int = 1) -> TestResponse:
        """Ask for a view, and give its last answer, read to its end."""
        path = self.path(view)
        for _ in range(times):
            with self.flask.test_client() as client:
                answer = client.open(path, method=method)
                answer.get_data()
                answer.close()
        return answer

    def json(self, view: Callable[[], Any], method: str = "GET") -> Any:
        """Ask for a view and give the data of its answer."""
        answer = self.ask(lambda: {"found": view()}, method)
        assert answer.status_code == 200, answer.text
        return answer.json["found"] if answer.json else None

    def dispose(self) -> None:
        """Close all connections."""
        with self.flask.app_context():
            self.db.session.remove()
            for engine in self.db.engines.values():
                engine.dispose()


# settings that plain Flask-SQLAlchemy does not know
OF_THE_POOL = {
    "SQLALCHEMY_POOL_SIZE", "SQLALCHEMY_MAX_OVERFLOW", "SQLALCHEMY_POOL_TIMEOUT",
    "SQLALCHEMY_STATEMENT_TIMEOUT", "SQLALCHEMY_CONNECT_TIMEOUT", "SQLALCHEMY_POOL_PING_AFTER",
}  # fmt: skip


class Extension(SQLAlchemy):
    """The extension, which keeps its models."""

    models: dict[str, Any]


def extension(**options: Any) -> Extension:
    """Make an extension and its models, with options such as `session_options`."""

    class Base(DeclarativeBase):
        pass

    db = Extension(model_class=Base, **options)

    class Item(db.Model):  # type: ignore[misc, name-defined]
        """What most views work on."""

        id = db.mapped_column(Integer, primary_key=True)
        name = db.mapped_column(String(50), unique=True)
        value = db.mapped_column(Integer, default=0)
        deleted = db.mapped_column(Integer, default=0)
        children = db.relationship("Child", order_by="Child.id")

    class Child(db.Model):  # type: ignore[misc, name-defined]
        """What belongs to an item."""

        id = db.mapped_column(Integer, primary_key=True)
        item_id = db.mapped_column(ForeignKey("item.id"))
        name = db.mapped_column(String(50))

    db.models = {"Item": Item, "Child": Child}
    return db
