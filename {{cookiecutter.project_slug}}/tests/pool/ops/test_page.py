"""The page that shows the pool, and its data."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from time import sleep
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.engine import Engine

import {{cookiecutter.project_slug}} as service

OPERATOR = {"Authorization": "Bearer operator"}
PACKAGE = Path(service.__file__).parent


@pytest.fixture
def engine(app: Flask) -> Iterator[Engine]:
    engine: Engine = app.extensions["pool"].engines["default"]
    yield engine
    engine.dispose()


def read(client: FlaskClient) -> dict[str, Any]:
    response = client.get("/pool.json", headers=OPERATOR)
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "no-store"
    data: dict[str, Any] = response.get_json()["pools"][0]
    return data


@pytest.mark.parametrize("path", ["/pool", "/pool.json"])
def test_the_pool_is_shown_to_operators_only(client: FlaskClient, path: str) -> None:
    assert client.get(path).status_code == 404
    assert client.get(path, headers=OPERATOR).status_code == 200


def test_the_page_is_open_in_debug_mode(app: Flask) -> None:
    app.debug = True

    assert app.test_client().get("/pool").status_code == 200


def test_everything_on_the_page_comes_from_this_service(client: FlaskClient) -> None:
    page = client.get("/pool", headers=OPERATOR).text

    found = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(found) > 3
    for path in found:
        assert path.startswith("/")
        with client.get(path, headers=OPERATOR) as response:
            assert response.status_code == 200
    assert not re.search(r"<style|<script>|style=|\son\w+=", page)
    assert "//" not in (PACKAGE / "static" / "pool.css").read_text(encoding="utf-8")


def test_the_page_can_be_read_without_seeing_it(client: FlaskClient) -> None:
    page = client.get("/pool", headers=OPERATOR).text

    assert page.count("<svg") == page.count('role="img"')
    assert 'role="status"' in page
    assert page.count("<table") == page.count("<caption") == 1
    assert page.count("<th ") == page.count('scope="col"') == 7


def test_every_place_on_the_page_is_filled_by_the_script(client: FlaskClient) -> None:
    page = client.get("/pool", headers=OPERATOR).text
    script = (PACKAGE / "static" / "pool.js").read_text(encoding="utf-8")

    places = re.findall(r'data-(?:field|bar|chart|rows)="(\w+)"', page)
    assert len(places) > 15
    assert [place for place in places if not re.search(rf"\b{place}\b", script)] == []


def test_the_data_says_what_the_pool_does_now(client: FlaskClient, engine: Engine) -> None:
    read(client)  # asks the server for its limits, on a connection of the pool
    engine.dispose()
    before = read(client)
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(engine.connect())
        client.get("/users")  # waits in vain
        now = read(client)
    after = read(client)

    assert now["checkedout"] - before["checkedout"] == 3
    assert (now["size"], now["max_overflow"], now["timeout"]) == (2, 1, 0.05)
    assert now["timeouts"] - before["timeouts"] == 1
    assert after["checkedout"] == before["checkedout"]
    assert now["checkouts"] - before["checkouts"] == 3
    assert now["workers"][0].items() <= {**now, "pid": now["workers"][0]["pid"]}.items()


def test_a_leak_is_shown_with_the_line_that_took_the_connection(app: Flask, engine: Engine) -> None:
    @app.get("/forgets")
    def forgets() -> str:
        engine.connect()
        return "done"

    client = app.test_client()
    before = read(client)
    client.get("/forgets")
    after = read(client)

    assert after["leaks"] == before["leaks"] + 1
    assert f"{__file__}:" in after["last_leak"]["taker"]
    assert "in forgets" in after["last_leak"]["taker"]


def test_the_budget_is_told_against_the_servers_limit(client: FlaskClient) -> None:
    budget = read(client)["budget"]

    assert budget["needed"] == budget["workers"] * 3
    assert budget["fits"] is True
    assert (budget["limit"] is None) == budget["server"].startswith("sqlite")


def test_the_limit_is_not_asked_for_while_requests_need_every_connection(
    client: FlaskClient, engine: Engine
) -> None:
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(engine.connect())

        first = read(client)
        sleep(0.1)  # pool_timeout and more
        second = read(client)

    assert first["budget"] is None
    assert second["timeouts"] == first["timeouts"]


@pytest.mark.parametrize("database", ["sqlite://", "postgresql://app:secret@127.0.0.1:1/shop"])
def test_the_page_needs_no_database_and_shows_no_secret(database: str) -> None:
    app = service.create_app(
        {"TESTING": True, "SQLALCHEMY_DATABASE_URI": database, "OPS_TOKEN": "operator"}
    )
    client = app.test_client()

    text = client.get("/pool.json", headers=OPERATOR).text + client.get("/pool").text

    assert "secret" not in text
    assert "app" not in read(client)["database"]
    app.extensions["pool"].engines["default"].dispose()
