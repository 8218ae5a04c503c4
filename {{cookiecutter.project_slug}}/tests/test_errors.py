"""What clients see when something goes wrong, and what browsers may do."""

from __future__ import annotations

from time import time

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text

from {{cookiecutter.project_slug}} import (
    create_app,
)
from {{cookiecutter.project_slug}}.db import db

BROWSER = {"Accept": "text/html"}


def test_an_error_has_one_shape(client: FlaskClient) -> None:
    response = client.get("/nowhere")

    assert response.mimetype == "application/problem+json"
    assert response.get_json()["status"] == response.status_code == 404
    assert response.get_json()["title"] == "Not Found"


def test_an_error_is_a_page_for_a_browser(client: FlaskClient) -> None:
    response = client.get("/nowhere", headers=BROWSER)

    assert (response.status_code, response.mimetype) == (404, "text/html")


def test_an_error_keeps_its_headers(client: FlaskClient) -> None:
    response = client.put("/users")

    assert response.status_code == 405
    assert {"GET", "POST"} <= set(response.headers["Allow"].split(", "))


@pytest.mark.parametrize("headers", [{}, BROWSER])
def test_nobody_learns_what_the_database_said(app: Flask, headers: dict[str, str]) -> None:
    app.config["PROPAGATE_EXCEPTIONS"] = False

    @app.get("/wrong")
    def wrong() -> str:
        return str(db.session.scalar(text("SELECT secret FROM nowhere")))

    response = app.test_client().get("/wrong", headers=headers)

    assert response.status_code == 500
    assert "secret" not in response.text
    assert "nowhere" not in response.text


def test_a_pool_that_is_taken_answers_with_the_reason(migrated: str) -> None:
    app = create_app(
        {
            "TESTING": True,
            "SQLALCHEMY_DATABASE_URI": migrated,
            "SQLALCHEMY_POOL_SIZE": 1,
            "SQLALCHEMY_MAX_OVERFLOW": 0,
            "SQLALCHEMY_POOL_TIMEOUT": 0.01,
        }
    )
    engine = app.extensions["pool"].engines["default"]

    with engine.connect():
        response = app.test_client().get("/users")
    engine.dispose()

    assert response.status_code == 503
    assert response.headers["Retry-After"] == "1"
    assert response.get_json()["reason"] == "exhausted"


@pytest.mark.parametrize("path", ["/", "/users", "/nowhere"])
def test_browsers_take_nothing_from_elsewhere(client: FlaskClient, path: str) -> None:
    headers = client.get(path).headers

    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_the_policy_is_a_setting(app: Flask) -> None:
    app.config["CONTENT_SECURITY_POLICY"] = "default-src 'self'"

    response = app.test_client().get("/")

    assert response.headers["Content-Security-Policy"] == "default-src 'self'"


def test_a_request_that_is_refused_in_front_of_flask_has_them_too(client: FlaskClient) -> None:
    response = client.get(
        "/users",
        headers={"X-Request-Start": f"t={time() - 20}"},  # what a proxy says
        environ_overrides={"werkzeug.socket": object()},
    )

    assert response.status_code == 503
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_a_view_may_have_its_own_policy(app: Flask) -> None:
    @app.get("/own")
    def own() -> tuple[str, dict[str, str]]:
        return "", {"Content-Security-Policy": "default-src 'self'"}

    headers = app.test_client().get("/own").headers

    assert headers.getlist("Content-Security-Policy") == ["default-src 'self'"]
