"""What `flask db` does with the database of the test run."""

from __future__ import annotations

from flask import Flask
from flask_migrate import check


def test_the_models_are_as_the_migrations_leave_them(app: Flask) -> None:
    with app.app_context():
        check()  # exits if `flask db migrate` would find something
