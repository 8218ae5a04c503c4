"""PgBouncer in transaction mode: with the setting, and noticed by itself."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from servers import PgBouncer
from sqlalchemy import event, text

from .conftest import Database, Item, Make, answer, db, drivers, engine_of, names, on, run, stored

pytestmark = on("postgresql")
PGBOUNCER = {"SQLALCHEMY_EXTERNAL_POOLER": "pgbouncer"}


def add() -> None:
    db.session.add(Item(name="A"))
    db.session.commit()


def not_prepared(app: Flask) -> bool:
    def view() -> Any:
        for _ in range(8):
            names()
        return drivers(app)[0]._prepared._names

    return not run(app, view)


@pytest.fixture
def behind(pgbouncer: PgBouncer, database: Database, tables: None) -> str:
    """The database's URL through PgBouncer."""
    return pgbouncer.url(database.name)


def test_a_pooler_is_noticed_by_itself(
    make_app: Make, behind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Situation 25: it refuses the start parameters."""
    app = make_app(behind)

    assert answer(app, names).status_code == 200
    run(app, add, "POST")

    assert stored(app) == ["A"]
    assert not_prepared(app)
    lines = [each for each in caplog.messages if "is a pooler" in each]
    assert len(lines) == 1
    assert "SQLALCHEMY_EXTERNAL_POOLER=pgbouncer" in lines[0]
    assert engine_of(app).url.password not in lines[0]


def test_a_noticed_pooler_is_connected_to_once_each_time(make_app: Make, behind: str) -> None:
    app = make_app(behind)
    attempts: list[Any] = []
    run(app, names)

    @event.listens_for(engine_of(app), "do_connect")
    def note(*arguments: Any) -> None:
        attempts.append(arguments)

    with engine_of(app).connect(), engine_of(app).connect(), engine_of(app).connect():
        pass

    assert len(attempts) == 2


def test_with_the_setting_nothing_is_refused(
    make_app: Make, behind: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(behind, **PGBOUNCER)

    run(app, names)
    run(app, add, "POST")

    assert stored(app) == ["A"]
    assert not_prepared(app)
    assert caplog.messages == []


@pytest.mark.parametrize("config", [{}, PGBOUNCER])
def test_parameters_of_the_application_that_a_pooler_takes_stay(
    make_app: Make, behind: str, config: dict[str, str]
) -> None:
    app = make_app(
        behind,
        SQLALCHEMY_ENGINE_OPTIONS={"connect_args": {"application_name": "mine"}},
        **config,
    )

    assert run(app, lambda: db.session.scalar(text("SHOW application_name"))) == "mine"


def test_another_refusal_is_not_taken_for_a_pooler(
    make_app: Make, pgbouncer: PgBouncer, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(pgbouncer.url("nowhere"), **PGBOUNCER)

    assert answer(app, names).status_code == 503
    assert "is a pooler" not in caplog.text
