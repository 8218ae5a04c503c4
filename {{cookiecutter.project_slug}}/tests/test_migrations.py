"""What `flask db` does with the database of the test run."""

from __future__ import annotations

import pytest
from flask import Flask
from flask_migrate import check, upgrade

from {{cookiecutter.project_slug}} import (
    create_app,
)


def test_the_models_are_as_the_migrations_leave_them(app: Flask) -> None:
    with app.app_context():
        check()  # exits if `flask db migrate` would find something


def test_an_upgrade_says_that_nothing_was_to_do(
    app: Flask, capsys: pytest.CaptureFixture[str]
) -> None:
    with app.app_context():
        upgrade()

    assert capsys.readouterr().out.startswith("database: nothing to do\n")


def test_a_server_that_is_away_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    url = "postgresql://nobody:secret@127.0.0.1:1/none"
    app = create_app({"TESTING": True, "SQLALCHEMY_DATABASE_URI": url})

    with app.app_context(), pytest.raises(SystemExit):
        upgrade()

    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert line.startswith("Error: the database can't be reached: ")
    assert "\n" not in line
