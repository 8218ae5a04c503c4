"""What docs/differences.md says of getting the plain behaviour back is so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest
import servers
from flask import Flask
from flask_pool import Pool
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """The base of the models."""


db = SQLAlchemy(model_class=Base)


class User(db.Model):  # type: ignore[misc, name-defined]
    """A row."""

    __tablename__ = "user"
    id: Mapped[int] = mapped_column(primary_key=True)


def application(url: str, **config: Any) -> Flask:
    """Build an application with a table."""
    app = Flask(__name__)
    app.config.from_mapping(config, SQLALCHEMY_DATABASE_URI=url)
    Pool(app, db)
    return app


@pytest.fixture
def url(postgresql: servers.PostgreSQL) -> str:
    """Return the URL of a PostgreSQL database with the table."""
    url = postgresql.url(postgresql.create_database())
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute('CREATE TABLE "user" (id serial PRIMARY KEY)')
    return url


def locks(url: str) -> int:
    """Return how many locks there are on the table."""
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        query = """SELECT count(*) FROM pg_locks WHERE relation = '"user"'::regclass"""
        (number,) = connection.execute(query).fetchone() or (0,)
        return int(number)


def dispose(app: Flask) -> None:
    """Close the connections of an application."""
    with app.app_context():
        db.engine.dispose()


@pytest.mark.parametrize(
    ("config", "begin", "locked"),
    [
        ({}, False, False),
        ({}, True, True),
        ({"SQLALCHEMY_ENGINE_OPTIONS": {"isolation_level": "REPEATABLE READ"}}, False, True),
    ],
    ids=["plain select", "session.begin", "isolation level"],
)
def test_a_read_keeps_its_lock_in_a_transaction(
    url: str, config: dict[str, Any], begin: bool, locked: bool
) -> None:
    """Asked for by the view, or by an isolation level; without that there is none."""
    app = application(url, **config)

    @app.get("/")
    def view() -> dict[str, bool]:
        if begin:
            db.session.begin()
            level = {"isolation_level": "REPEATABLE READ"}
            db.session.connection(execution_options=level)
        db.session.scalars(db.select(User)).all()
        return {"locked": locks(url) > 0}

    with app.test_client() as client:
        assert client.get("/").json == {"locked": locked}
    dispose(app)


def test_a_view_raises_its_statement_limit(url: str) -> None:
    """For its transaction alone; the setting is the limit of all others."""
    app = application(url, SQLALCHEMY_STATEMENT_TIMEOUT=0.2)

    @app.get("/<limit>")
    def view(limit: str) -> str:
        db.session.execute(db.text(f"SET LOCAL statement_timeout = '{limit}'"))
        return str(db.session.scalar(db.text("SELECT pg_sleep(0.5)")) is not None)

    with app.test_client() as client:
        assert client.get("/5min").status_code == 200
        assert client.get("/200ms").status_code == 503
    with app.app_context():
        assert db.session.scalar(db.text("SHOW statement_timeout")) == "200ms"
    dispose(app)


@pytest.mark.parametrize("own", [False, True])
def test_an_own_handler_decides_about_database_errors(url: str, own: bool) -> None:
    """Without it a timeout is 503."""
    app = application(url, SQLALCHEMY_STATEMENT_TIMEOUT=0.2)

    @app.get("/")
    def view() -> str:
        return str(db.session.scalar(db.text("SELECT pg_sleep(5)")))

    def again(error: SQLAlchemyError) -> Any:
        raise error

    if own:
        app.register_error_handler(SQLAlchemyError, again)
    with app.test_client() as client:
        assert client.get("/").status_code == (500 if own else 503)
    dispose(app)


@pytest.mark.parametrize(
    ("pragma", "usual", "plain"),
    [("foreign_keys", 1, 0), ("journal_mode", "wal", "delete")],
)
def test_a_listener_sets_sqlite_back(tmp_path: Path, pragma: str, usual: Any, plain: Any) -> None:
    """As the pool's own listener runs before it."""

    def found(*, own: bool) -> Any:
        app = application(f"sqlite:///{tmp_path}/{own}.db")
        with app.app_context():
            if own:
                event.listen(
                    db.engine, "connect", lambda made, _: made.execute(f"PRAGMA {pragma} = {plain}")
                )
            value = db.session.scalar(db.text(f"PRAGMA {pragma}"))
        dispose(app)
        return value

    assert found(own=False) == usual
    assert found(own=True) == plain


def test_a_leak_stays_out_for_as_long_as_the_setting_says(url: str) -> None:
    """A request that waits gets 503, and the connection still works."""
    app = application(
        url,
        SQLALCHEMY_POOL_SIZE=1,
        SQLALCHEMY_MAX_OVERFLOW=0,
        SQLALCHEMY_POOL_TIMEOUT=2,
        POOL_LEAK_AFTER=86400,
    )
    kept: list[Any] = []

    @app.get("/leak")
    def leak() -> str:
        kept.append(db.engine.connect())
        return "kept"

    @app.get("/")
    def view() -> str:
        return str(db.session.scalar(db.text("SELECT 1")))

    with app.test_client() as client:
        client.get("/leak").close()
        assert client.get("/").status_code == 503
        assert kept[0].scalar(db.text("SELECT 1")) == 1
        kept[0].close()
        assert client.get("/").status_code == 200
    dispose(app)
