"""Flask's session, for whoever comes to use it."""

from __future__ import annotations

from secrets import token_hex

import pytest
from flask import Flask, session


@pytest.fixture
def visits(app: Flask) -> Flask:
    """The application with a view that counts in the session."""
    app.secret_key = token_hex()

    @app.get("/visits")
    def count() -> str:
        session["visits"] = session.get("visits", 0) + 1
        return str(session["visits"])

    @app.get("/leave")
    def leave() -> str:
        session.clear()
        return "left"

    return app


def test_a_session_lasts_from_request_to_request_until_it_is_cleared(visits: Flask) -> None:
    client = visits.test_client()

    assert [client.get("/visits").text for _ in range(3)] == ["1", "2", "3"]
    client.get("/leave")
    assert client.get("/visits").text == "1"


def test_an_answer_that_depends_on_the_session_says_so(visits: Flask) -> None:
    assert "Cookie" in visits.test_client().get("/visits").headers["Vary"]
    assert "Vary" not in visits.test_client().get("/users").headers


def test_a_forged_session_is_an_empty_one(visits: Flask) -> None:
    client = visits.test_client()
    client.set_cookie("session", "eyJ2aXNpdHMiOjQxfQ.forged.signature")

    assert client.get("/visits").text == "1"


def test_without_a_key_there_is_no_session(visits: Flask) -> None:
    visits.secret_key = None

    with pytest.raises(RuntimeError, match="secret key"):
        visits.test_client().get("/visits")
