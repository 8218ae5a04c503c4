"""A plugin of pytest: wherever a test says `db.init_app(app)`, the pool is switched on."""

from __future__ import annotations

import importlib
import os

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

PACKAGE = os.environ["PEERS_PACKAGE"]
Pool = importlib.import_module(PACKAGE).Pool

plain = SQLAlchemy.init_app
under_way: list[tuple[SQLAlchemy, Flask]] = []
pools: list[object] = []


def init_app(db: SQLAlchemy, app: Flask) -> None:
    """Leave it to the pool, which calls this once more to have the engines made."""
    if (db, app) in under_way:
        plain(db, app)
        return
    under_way.append((db, app))
    try:
        pool = Pool()
        pool.init_app(app, db)
    finally:
        under_way.remove((db, app))
    assert app.extensions.get("sqlalchemy") is db, "the pool did not call db.init_app"
    pools.append(pool)


SQLAlchemy.init_app = init_app


def pytest_report_header() -> str:
    """Say whose pool is tested."""
    return f"pool: {importlib.import_module(PACKAGE).__file__}"


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run in which the pool had no part."""
    if session.testscollected and not pools and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.INTERNAL_ERROR


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how often it was switched on."""
    terminalreporter.write_line(f"the pool was switched on {len(pools)} times")
