"""What the browser's network panel learns."""

from __future__ import annotations

import re
from threading import Timer
from time import perf_counter, sleep
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event, text

from library.conftest import Make, db


@pytest.fixture
def timed(app: Flask, make_app: Make) -> Flask:
    """An application with times in its answers, and one connection."""
    timed = make_app(SERVER_TIMING=True, SQLALCHEMY_POOL_SIZE=1, SQLALCHEMY_MAX_OVERFLOW=0)

    @timed.get("/one")
    def one_statement() -> str:
        return str(db.session.scalar(text("SELECT 1")))

    return timed


def timings(
    client: FlaskClient, path: str = "/one", status: int = 200, method: str = "GET"
) -> dict[str, float]:
    """Ask, and return the times that the answer tells and the one that it took, in ms."""
    started = perf_counter()
    response = client.open(path, method=method)
    took = 1000 * (perf_counter() - started)
    assert response.status_code == status
    header = response.headers["Server-Timing"]
    assert re.fullmatch(r"pool;dur=[\d.]+, db;dur=[\d.]+", header)
    told = {name: float(dur) for name, dur in re.findall(r"(\w+);dur=([\d.]+)", header)}
    return {**told, "all": took}


def test_without_the_setting_nothing_is_told(client: FlaskClient) -> None:
    assert "Server-Timing" not in client.get("/nowhere").headers


def test_an_answer_without_the_database_spent_nothing_on_it(timed: Flask) -> None:
    told = timings(timed.test_client(), "/nowhere", 404)

    assert (told["pool"], told["db"]) == (0, 0)


def test_statements_and_commits_are_database_time(timed: Flask) -> None:
    @timed.get("/twice")
    def twice() -> str:
        for _ in range(2):
            db.session.execute(text("SELECT 1"))
            sleep(0.03)  # not the database's
        return "done"

    @timed.post("/commit")
    def commit() -> str:
        db.session.execute(text("SELECT 1"))
        db.session.commit()
        return "done"

    client = timed.test_client()
    client.get("/one")
    engine = timed.extensions["pool"].engines["default"]
    event.listen(engine, "commit", lambda connection: sleep(0.03))

    one, two = timings(client), timings(client, "/twice")
    done = timings(client, "/commit", method="POST")
    assert 0 < one["db"] < one["all"]
    assert 0 < two["db"] < two["all"] - 55
    assert 30 < done["db"] < done["all"]


def test_a_wait_is_pool_time_even_if_it_ends_in_vain(timed: Flask) -> None:
    engine: Any = timed.extensions["pool"].engines["default"]
    client = timed.test_client()
    held = engine.connect()

    engine.pool._timeout = 0.05
    in_vain = timings(client, status=503)
    engine.pool._timeout = 30
    freeing = Timer(0.03, held.close)
    freeing.start()
    waited = timings(client)
    freeing.join(30)

    assert 40 < in_vain["pool"] < in_vain["all"]
    assert 0 < waited["pool"] < waited["all"]
    assert waited["db"] < waited["all"] - waited["pool"]
