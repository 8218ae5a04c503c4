"""What clients of the user directory see."""

from __future__ import annotations

from io import BytesIO

import pytest
from flask import Flask
from flask.testing import FlaskClient

from {{cookiecutter.project_slug}}.db import db
from {{cookiecutter.project_slug}}.models import (
    User,
)

JSON = {"Accept": "application/json"}
BROWSER = {"Accept": "text/html"}


def add(client: FlaskClient, *names: str) -> None:
    for name in names:
        assert client.post("/users", json={"name": name}).status_code == 201


def test_names_are_joined_by_commas_in_order(client: FlaskClient) -> None:
    add(client, "Alice", "Bob")

    response = client.get("/users")

    assert response.text == "Alice,Bob"
    assert response.mimetype == "text/plain"


def test_an_empty_directory_is_an_empty_text(client: FlaskClient) -> None:
    assert client.get("/users").text == ""


def test_json_for_those_who_ask_for_it(client: FlaskClient) -> None:
    add(client, "Alice")

    body = client.get("/users", headers=JSON).get_json()

    assert [user["name"] for user in body["users"]] == ["Alice"]
    assert body["next"] is None


def test_pages_lead_through_all_users(client: FlaskClient) -> None:
    add(client, "A", "B", "C", "D", "E")
    names, url = [], "/users?limit=2"

    while url:
        body = client.get(url, headers=JSON).get_json()
        names.append([user["name"] for user in body["users"]])
        url = body["next"]

    assert names == [["A", "B"], ["C", "D"], ["E"]]


def test_text_is_paged_too_and_links_to_what_follows(client: FlaskClient) -> None:
    add(client, "A", "B", "C")

    first = client.get("/users?limit=2")
    second = client.get(first.headers["Link"].partition(">")[0].removeprefix("<"))

    assert (first.text, second.text) == ("A,B", "C")
    assert "Link" not in second.headers


@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=1001", "limit=x", "limit=", "limit=+5", "limit=007", "limit=5.0"),
        *("after=-1", "after=9e9", "after=\u0967", "after=9223372036854775808"),
        *(f"limit={'0' * 19}2000", f"after={'9' * 5000}"),
    ],
)
def test_a_page_that_cannot_be_is_refused_by_name(client: FlaskClient, query: str) -> None:
    response = client.get(f"/users?{query}")

    assert response.status_code == 400
    assert response.get_json()["detail"].startswith(query.partition("=")[0])


def test_a_page_may_begin_after_any_id(client: FlaskClient) -> None:
    add(client, "Alice")

    assert client.get("/users?after=9223372036854775807").text == ""
    assert client.get("/users?after=0&limit=1000").text == "Alice"


@pytest.mark.parametrize("query", ["", "?limit=1"])
@pytest.mark.parametrize("accept", ["*/*", "application/json"])
def test_caches_keep_text_and_json_apart(client: FlaskClient, query: str, accept: str) -> None:
    add(client, "Alice", "Bob")

    assert client.get(f"/users{query}", headers={"Accept": accept}).headers["Vary"] == "Accept"


def test_a_new_user_has_an_address(client: FlaskClient) -> None:
    created = client.post("/users", json={"name": "  Alice  "})

    assert created.status_code == 201
    assert created.get_json()["name"] == "Alice"
    assert client.get(created.headers["Location"]).get_json() == created.get_json()


def test_a_form_works_like_json(client: FlaskClient) -> None:
    created = client.post("/users", data={"name": "Alice"})

    assert created.status_code == 201
    assert created.get_json()["name"] == "Alice"


def test_a_browser_is_led_back_to_the_list(client: FlaskClient) -> None:
    response = client.post("/users", data={"name": "Alice"}, headers=BROWSER)

    assert (response.status_code, response.location) == (303, "/")
    assert "Alice" in client.get("/").text


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost"},
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Origin": "http://localhost.elsewhere.example"},
    ],
)
def test_a_form_of_another_site_is_refused(client: FlaskClient, headers: dict[str, str]) -> None:
    response = client.post("/users", data={"name": "Mallory"}, headers=headers)

    assert response.status_code == 403
    assert client.get("/users").text == ""


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "same-origin"}, {"Origin": "http://localhost"}]
)
def test_a_form_of_its_own_is_not(client: FlaskClient, headers: dict[str, str]) -> None:
    response = client.post("/users", data={"name": "Alice"}, headers=headers)

    assert response.status_code == 201


@pytest.mark.parametrize("name", ["", "   ", "x" * 51, "a\x00b", "a\nb", "\ud800", 7, None, ["x"]])
def test_a_name_that_cannot_be_stored_is_refused(client: FlaskClient, name: object) -> None:
    response = client.post("/users", json={"name": name})

    assert response.status_code == 400
    assert response.mimetype == "application/problem+json"
    assert client.get("/users").text == ""


@pytest.mark.parametrize(
    "body",
    [b"[]", b'"x"', b"null", b"{", b"", b'{"name": "\xff"}', b"[" * 60_000, b"9" * 5000],
    ids=["list", "text", "null", "cut", "empty", "not UTF-8", "deep", "long"],
)
def test_json_of_another_shape_is_refused(client: FlaskClient, body: bytes) -> None:
    response = client.post("/users", data=body, content_type="application/json")

    assert response.status_code == 400


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"name=%00", "application/x-www-form-urlencoded"),
        (b"name=Alice", "text/plain"),
        (b"name=Alice", "multipart/form-data"),
    ],
)
def test_a_form_that_is_none_is_refused(
    client: FlaskClient, body: bytes, content_type: str
) -> None:
    response = client.post("/users", data=body, content_type=content_type)

    assert response.status_code == 400


@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded"])
def test_a_body_that_is_too_large_is_refused_unread(client: FlaskClient, content_type: str) -> None:
    body = BytesIO(b" " * 65537)

    response = client.post(
        "/users", input_stream=body, content_length=65537, content_type=content_type
    )

    assert response.status_code == 413
    assert body.tell() == 0


@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded"])
def test_a_body_of_unknown_size_is_read_no_further(client: FlaskClient, content_type: str) -> None:
    body = BytesIO(b"name=Alice&rest=" + b"x" * 1_000_000)

    response = client.post(
        "/users",
        input_stream=body,
        content_type=content_type,
        headers={"Transfer-Encoding": "chunked"},
        environ_overrides={"wsgi.input_terminated": True},
    )

    assert response.status_code == 413
    assert body.tell() < 200_000


@pytest.mark.parametrize("name", ["x" * 50, "Zoë", "李小龍", "👩‍👩‍👧", "O'Brien; --", "%s %(x)s"])
def test_any_other_name_comes_back_unchanged(client: FlaskClient, name: str) -> None:
    add(client, name)

    assert client.get("/users").text == name


def test_markup_in_a_name_shows_as_text(client: FlaskClient) -> None:
    add(client, "<script>alert(1)</script>")

    page = client.get("/").text

    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>alert" not in page


def test_the_page_shows_the_newest_and_leads_to_the_rest(client: FlaskClient, app: Flask) -> None:
    with app.app_context():
        db.session.add_all(User(name=f"user {number}.") for number in range(101))
        db.session.commit()

    page = client.get("/").text

    assert page.index("user 100.") < page.index("user 1.")
    assert "user 0." not in page
    assert 'href="/users"' in page


@pytest.mark.parametrize(
    "user_id",
    [
        *("0", "2147483648", "9223372036854775807", "9223372036854775808", "9" * 5000),
        *("-1", "+1", "1.0", "x", "%00", "%E0%A5%A7"),
    ],
)
def test_a_user_that_is_not_there_is_not_found(client: FlaskClient, user_id: str) -> None:
    response = client.get(f"/users/{user_id}")

    assert response.status_code == 404
    assert response.mimetype == "application/problem+json"
