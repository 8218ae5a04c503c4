"""What clients of the user directory see."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

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


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "after=-1", "after=9e9"])
def test_a_page_that_cannot_be_is_refused_by_name(client: FlaskClient, query: str) -> None:
    response = client.get(f"/users?{query}")

    assert response.status_code == 400
    assert response.get_json()["detail"].startswith(query.partition("=")[0])


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


@pytest.mark.parametrize("name", ["", "   ", "x" * 51, "a\x00b", "a\nb", "\ud800", 7, None, ["x"]])
def test_a_name_that_cannot_be_stored_is_refused(client: FlaskClient, name: object) -> None:
    response = client.post("/users", json={"name": name})

    assert response.status_code == 400
    assert response.mimetype == "application/problem+json"
    assert client.get("/users").text == ""


@pytest.mark.parametrize("body", ["[]", '"x"', "null", "{", ""])
def test_json_of_another_shape_is_refused(client: FlaskClient, body: str) -> None:
    response = client.post("/users", data=body, content_type="application/json")

    assert response.status_code == 400


@pytest.mark.parametrize("name", ["x" * 50, "Zoë", "李小龍", "👩‍👩‍👧", "O'Brien; --", "%s %(x)s"])
def test_any_other_name_comes_back_unchanged(client: FlaskClient, name: str) -> None:
    add(client, name)

    assert client.get("/users").text == name


def test_markup_in_a_name_shows_as_text(client: FlaskClient) -> None:
    add(client, "<script>alert(1)</script>")

    page = client.get("/").text

    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>alert" not in page


def test_the_page_allows_nothing_from_elsewhere(client: FlaskClient) -> None:
    policy = client.get("/").headers["Content-Security-Policy"]

    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy


@pytest.mark.parametrize("path", ["/users/0", "/users/2147483647", "/users/99999999999999999999"])
def test_a_user_that_is_not_there_is_not_found(client: FlaskClient, path: str) -> None:
    response = client.get(path)

    assert response.status_code == 404
    assert response.mimetype == "application/problem+json"


def test_errors_are_pages_for_a_browser(client: FlaskClient) -> None:
    response = client.get("/nowhere", headers=BROWSER)

    assert (response.status_code, response.mimetype) == (404, "text/html")
