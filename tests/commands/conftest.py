"""What the tests of commands share: an application with the library, and its commands' answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import flask_pool
import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import text


@dataclass(frozen=True)
class Told:
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """What it said, read as JSON."""
        return json.loads(self.out)

    @property
    def findings(self) -> dict[str, str]:
        """The findings of `flask pool check`: their names and severities."""
        return {found["name"]: found["severity"] for found in self.data["findings"]}


Pool = Callable[..., Told]


@contextmanager
def application(url: str, **settings: Any) -> Iterator[Flask]:
    """Give an application on a database; its connections are closed after the block."""
    app, db = Flask("commands"), SQLAlchemy()
    app.config.update(SQLALCHEMY_DATABASE_URI=url, **settings)
    flask_pool.Pool(app, db)
    app.add_url_rule("/one", "one", lambda: str(db.session.scalar(text("SELECT 1"))))
    try:
        yield app
    finally:
        for engine in app.extensions["pool"].engines.values():
            engine.dispose()


@pytest.fixture
def pool() -> Pool:
    """Give a function that runs `flask pool ...` on a database."""

    def run(url: str, *arguments: str, **settings: Any) -> Told:
        with application(url, **settings) as app:
            done = app.test_cli_runner().invoke(args=["pool", *arguments])
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Told(done.exit_code, done.stdout, done.stderr)

    return run
