"""What an orchestrator sees."""

from __future__ import annotations

from pathlib import Path

from flask.testing import FlaskClient

from {{cookiecutter.project_slug}} import (
    create_app,
)


def test_a_migrated_database_is_ready(client: FlaskClient) -> None:
    assert client.get("/healthz/ready").status_code == 200


def test_a_database_without_its_tables_is_unmigrated(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'empty.db'}"
    app = create_app({"TESTING": True, "SQLALCHEMY_DATABASE_URI": url})

    response = app.test_client().get("/healthz/ready")
    app.extensions["pool"].engines["default"].dispose()

    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    assert response.get_json()["reason"] == "unmigrated"


def test_a_database_that_is_away_is_unreachable_and_the_process_alive() -> None:
    url = "sqlite:////nowhere/to/be/found.db"
    client = create_app({"TESTING": True, "SQLALCHEMY_DATABASE_URI": url}).test_client()

    assert client.get("/healthz/ready").get_json()["reason"] == "unreachable"
    assert client.get("/healthz/live").status_code == 200
