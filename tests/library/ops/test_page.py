"""The page that shows the pool, its data, and who may see them."""

from __future__ import annotations

import re
import sys
from base64 import b64encode
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from time import sleep
from typing import Any

import flask_pool as pool
import pytest
from flask import Blueprint, Flask, url_for
from flask.testing import FlaskClient
from flask_pool import Pool
from servers import wait_until
from sqlalchemy import text
from sqlalchemy.engine import Connection, Engine, make_url

from library.conftest import Make, db

OPERATOR = {"Authorization": "Bearer operator"}
OPS = Path(pool.__file__).parent / "ops"
PAGES = ["/metrics", "/pool", "/pool.json"]


def read(client: FlaskClient) -> dict[str, Any]:
    response = client.get("/pool.json", headers=OPERATOR)
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "no-store"
    data: dict[str, Any] = response.get_json()["pools"][0]
    return data


def basic(password: str) -> str:
    return "Basic " + b64encode(f"anybody:{password}".encode()).decode()


@pytest.mark.parametrize("path", PAGES)
def test_operators_get_in(make_app: Make, path: str) -> None:
    client = make_app().test_client()

    for given in ("Bearer operator", "bearer operator", "BEARER  operator ", basic("operator")):
        assert client.get(path, headers={"Authorization": given}).status_code == 200


@pytest.mark.parametrize("path", PAGES)
def test_others_find_nothing_or_are_asked(make_app: Make, path: str) -> None:
    client = make_app().test_client()

    for given in (
        "", "operator", "Bearer", "Bearer wrong", "Bearer operator2", "Token operator", "Basic x",
        basic("wrong"), basic(""), "Digest operator",
    ):  # fmt: skip
        answer = client.get(path, headers={"Authorization": given})
        assert answer.status_code == (401 if path == "/pool" else 404)
        assert ("WWW-Authenticate" in answer.headers) == (path == "/pool")


@pytest.mark.parametrize("path", PAGES)
def test_without_a_token_nobody_is_an_operator(make_app: Make, path: str) -> None:
    client = make_app(OPS_TOKEN=None).test_client()

    for given in ("", "Bearer ", "Bearer None", basic("")):
        assert client.get(path, headers={"Authorization": given}).status_code == 404


@pytest.mark.parametrize("scheme", ["Bearer", "Basic"])
def test_a_token_may_have_any_characters(make_app: Make, scheme: str) -> None:
    client = make_app(OPS_TOKEN="schlüssel €=").test_client()
    bearer = "Bearer " + "schlüssel €=".encode().decode("latin-1")

    header = bearer if scheme == "Bearer" else basic("schlüssel €=")

    assert client.get("/pool", headers={"Authorization": header}).status_code == 200


@pytest.mark.parametrize("path", PAGES)
def test_everything_is_open_in_debug_mode(app: Flask, path: str) -> None:
    app.debug = True

    assert app.test_client().get(path).status_code == 200


def test_everything_on_the_page_comes_from_this_extension(client: FlaskClient) -> None:
    page = client.get("/pool", headers=OPERATOR)

    found = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(found) > 3
    for path in found:
        assert path.startswith("/pool")
        with client.get(path, headers=OPERATOR) as response:
            assert response.status_code == 200
    assert page.headers["Content-Security-Policy"].startswith("default-src 'self'")
    assert not re.search(r"<style|<script>|style=|\son\w+=", page.text)
    assert "//" not in (OPS / "static" / "pool.css").read_text(encoding="utf-8")


def test_every_place_on_the_page_is_filled_by_the_script(client: FlaskClient) -> None:
    page = client.get("/pool", headers=OPERATOR).text
    script = (OPS / "static" / "pool.js").read_text(encoding="utf-8")

    places = re.findall(r'data-(?:field|bar|chart|rows)="(\w+)"', page)
    assert len(places) > 15
    assert [place for place in places if not re.search(rf"\b{place}\b", script)] == []


def test_the_data_says_what_the_pool_does_now(make_app: Make) -> None:
    app = make_app(SQLALCHEMY_POOL_TIMEOUT=0.05)
    engine = app.extensions["pool"].engines["default"]

    @app.get("/one")
    def one() -> str:
        return str(db.session.scalar(text("SELECT 1")))

    client = app.test_client()
    read(client)  # asks the server for its limits, on a connection of the pool
    before = read(client)
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(engine.connect())
        waited = client.get("/one")
        now = read(client)
    after = read(client)

    assert waited.status_code == 503
    assert now["checkedout"] - before["checkedout"] == 3
    assert (now["size"], now["max_overflow"], now["timeout"]) == (2, 1, 0.05)
    assert now["timeouts"] - before["timeouts"] == 1
    assert (now["waiting"], now["overflow"], now["capacity"]) == (0, 1, 3)
    assert after["checkedout"] == before["checkedout"]
    assert now["checkouts"] - before["checkouts"] == 3
    assert now["workers"][0].items() <= {**now, "pid": now["workers"][0]["pid"]}.items()


def test_a_leak_is_shown_with_the_line_that_took_the_connection(app: Flask, engine: Engine) -> None:
    @app.get("/forgets")
    def forgets() -> str:
        forgotten.append(engine.connect())
        return "done"

    forgotten: list[Connection] = []
    client = app.test_client()
    before = read(client)
    client.get("/forgets").close()
    after = read(client)
    forgotten.pop().close()

    assert after["leaks"] == before["leaks"] + 1
    assert f"{__file__}:" in after["last_leak"]["taker"]
    assert "in forgets" in after["last_leak"]["taker"]


def test_the_budget_is_told_against_the_servers_limit(client: FlaskClient) -> None:
    wait_until(lambda: read(client)["budget"] is not None)  # it is asked for beside requests
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
        sleep(0.05)
        second = read(client)

    assert first["budget"] is None
    assert (second["timeouts"], second["waiting"]) == (first["timeouts"], 0)


def test_a_pool_without_a_limit_has_a_page_too(make_app: Make) -> None:
    client = make_app(SQLALCHEMY_ENGINE_OPTIONS={"max_overflow": -1}).test_client()

    data = read(client)

    assert (data["capacity"], data["max_overflow"], data["budget"]) == (None, None, None)


def test_the_page_needs_no_database_and_shows_no_secret(make_app: Make) -> None:
    url = "postgresql+psycopg://app:secret@127.0.0.1:1/shop"
    client = make_app(SQLALCHEMY_DATABASE_URI=url).test_client()

    text = client.get("/pool.json", headers=OPERATOR).text

    assert "secret" not in text
    assert read(client)["database"] == "postgresql://127.0.0.1:1/shop"


def test_in_memory_sqlite_has_no_pool_to_show(make_app: Make) -> None:
    client = make_app(SQLALCHEMY_DATABASE_URI="sqlite://").test_client()

    assert client.get("/pool.json", headers=OPERATOR).get_json()["pools"] == []
    assert client.get("/pool", headers=OPERATOR).status_code == 200


def test_routes_that_hold_connections_are_shown(app: Flask) -> None:
    @app.get("/slow/<name>")
    def slow(name: str) -> str:
        db.session.scalar(text("SELECT 1"))
        sleep(0.1)
        return name

    def held() -> float:
        routes = {each["route"]: each["held_seconds"] for each in read(client)["routes"]}
        return float(routes.get("/slow/<name>", 0))

    client = app.test_client()
    before = held()
    for name in ("one", "two"):
        client.get(f"/slow/{name}")

    assert 0.2 <= held() - before < 2


# an application's own pages


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("path", PAGES)
def test_an_applications_own_page_wins_whenever_it_is_added(
    database_url: str, path: str, before: bool
) -> None:
    app = Flask("own")
    app.config.update(SQLALCHEMY_DATABASE_URI=database_url, OPS_TOKEN="operator")

    def add() -> None:
        app.add_url_rule(path, "own", lambda: "its own")
        app.register_blueprint(Blueprint("pool", "pool"))

    if before:
        add()
    Pool(app, db)
    if not before:
        add()

    client = app.test_client()
    assert client.get(path).text == "its own"
    others = [client.get(other, headers=OPERATOR) for other in PAGES if other != path]
    assert [response.status_code for response in others] == [200, 200]


@pytest.mark.parametrize("rule", ["/<name>", "/<path:name>"])
def test_a_page_of_any_name_does_not_win(make_app: Make, rule: str) -> None:
    app = make_app()
    app.add_url_rule(rule, "any", lambda name: "any")

    for path in PAGES:
        assert app.test_client().get(path, headers=OPERATOR).text != "any"


def test_the_prefix_moves_every_page(make_app: Make) -> None:
    app = make_app(POOL_URL_PREFIX="/ops")
    client = app.test_client()

    for path in PAGES:
        assert client.get(path, headers=OPERATOR).status_code == 404
        assert client.get(f"/ops{path}", headers=OPERATOR).status_code == 200
    page = client.get("/ops/pool", headers=OPERATOR).text
    assert 'data-source="/ops/pool.json"' in page
    assert set(re.findall(r'(?:src|href)="(/\w+)', page)) == {"/ops"}
    with app.test_request_context():
        assert url_for("flask_pool.page") == "/ops/pool"


def test_without_prometheus_client_its_page_alone_is_missing(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)

    told = client.get("/metrics", headers=OPERATOR)
    assert told.status_code == 501
    assert "pip install &#39;flask-pool[ops]&#39;" in told.text
    assert read(client)["size"] == 2


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("sqlite:////srv/app.db", "sqlite:////srv/app.db"),
        ("sqlite://", "sqlite://"),
        ("postgresql://u:p@db/shop", "postgresql://db/shop"),
        ("postgresql://u:p@[::1]:5433/shop", "postgresql://[::1]:5433/shop"),
        ("postgresql://u:p@/shop?host=a:5432&host=b:5433", "postgresql://a:5432,b:5433/shop"),
        ("postgresql://u:p@/shop?host=a,b&port=1,2", "postgresql://a:1,b:2/shop"),
        ("postgresql://u:p@/shop?host=/run/pg", "postgresql:///run/pg/shop"),
        ("mysql+pymysql://u:p@db:3306/shop?ssl_ca=x", "mysql://db:3306/shop"),
    ],
)
def test_a_database_is_named_by_its_hosts(url: str, place: str) -> None:
    hosts = import_module(f"{pool.__name__}.ops.server")

    assert hosts.place(make_url(url)) == place
