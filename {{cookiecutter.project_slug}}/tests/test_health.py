"""What an orchestrator sees."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from {{cookiecutter.project_slug}} import (
    create_app,
    health,
)


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with much to do is no reason for an answer."""
    monkeypatch.setattr(health, "PATIENCE", 30)


def reason(app: Flask) -> str:
    response = app.test_client().get("/healthz/ready")
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "1"
    return str(response.get_json()["reason"])


def test_a_migrated_database_is_ready(client: FlaskClient) -> None:
    assert client.get("/healthz/ready").status_code == 200


def test_a_database_without_its_tables_is_unmigrated(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'empty.db'}"
    app = create_app({"TESTING": True, "SQLALCHEMY_DATABASE_URI": url})

    assert reason(app) == "unmigrated"
    app.extensions["pool"].engines["default"].dispose()


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:////nowhere/to/be/found.db",
        "postgresql://nobody:secret@127.0.0.1:1/none",
        "mysql://nobody:secret@127.0.0.1:1/none",
    ],
)
def test_a_database_that_is_away_is_unreachable(url: str) -> None:
    app = create_app({"TESTING": True, "SQLALCHEMY_DATABASE_URI": url})

    assert reason(app) == "unreachable"


def test_a_pool_that_is_taken_is_exhausted(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "PATIENCE", 0.1)
    engine = app.extensions["pool"].engines["default"]
    taken = [engine.connect() for _ in range(3)]

    assert reason(app) == "exhausted"

    monkeypatch.setattr(health, "PATIENCE", 30)
    for connection in taken:
        connection.close()
    assert app.test_client().get("/healthz/ready").status_code == 200


def test_a_database_that_takes_no_changes_is_read_only(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = app.extensions["pool"].engines["default"].dialect.name
    monkeypatch.setitem(health.READ_ONLY, name, "SELECT 1")  # what a standby would say

    assert reason(app) == "read_only"


def test_being_alive_takes_no_connection(app: Flask) -> None:
    engine = app.extensions["pool"].engines["default"]
    before = engine.pool.checkedin()

    assert app.test_client().get("/healthz/live").status_code == 200
    assert engine.pool.checkedin() == before
