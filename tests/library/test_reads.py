"""Reads without a transaction: their round trips, what is never proven, and what a failed one leaves."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from flask import Flask
from sqlalchemy import event, func, insert, literal, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from .conftest import (
    Database,
    Item,
    Make,
    OpenProxy,
    answer,
    begun,
    db,
    drivers,
    engine_of,
    is_dead,
    on,
    run,
    store,
    stored,
)

CURSOR = "FAKE"  # replaced


def read() -> Any:
    return db.session.scalars(select(Item.name).order_by(Item.id)).all()


def add() -> None:
    db.session.add(Item(name="new"))
    db.session.commit()


@pytest.fixture
def trips(
    make_app: Make, database: Database, proxy: OpenProxy, tables: None
) -> Callable[..., int]:
    """Count the round trips of a request on a connection that is there."""
    counting = proxy(database.server.port)
    app = make_app(database.url(counting.port))

    def count(view: Callable[[], object], method: str = "GET") -> int:
        for _ in range(8):  # statements are prepared, and the isolation level is known
            run(app, view, method)
        before = counting.round_trips
        run(app, view, method)
        return counting.round_trips - before

    return count


@on("postgresql")
def test_round_trips_on_postgresql(trips: Callable[..., int]) -> None:
    assert trips(read) == 1
    assert trips(lambda: (read(), read())) == 2
    assert trips(read, "POST") == 3  # BEGIN, SELECT, ROLLBACK
    assert trips(add, "POST") == 3


@on("mariadb")
def test_round_trips_on_mariadb(trips: Callable[..., int]) -> None:
    assert trips(read) == 2  # SELECT, and the session's ROLLBACK
    assert trips(add, "POST") == 3  # INSERT, COMMIT, and the pool's ROLLBACK or none
