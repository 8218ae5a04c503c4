"""What stays in memory: nothing of a transaction, and nothing of what nobody uses."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from weakref import ref

import pytest
from flask import Flask
from sqlalchemy import select, text

from .conftest import Item, Make, db

TRANSACTIONS, MORE, WARM = 2000, 20_000, 300
# memory blocks of Python's; caches of a few entries may still be filled
KEPT = 1000


@pytest.mark.parametrize("times", [TRANSACTIONS, pytest.param(MORE, marks=pytest.mark.repeat)])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_transactions_leave_nothing_behind_in_one_request(
    app: Flask, method: str, times: int
) -> None:
    assert blocks_kept(times, lambda: app.test_request_context(method=method)) < KEPT


def test_transactions_leave_nothing_behind_outside_of_requests(app: Flask) -> None:
    """As in a job."""
    assert blocks_kept(TRANSACTIONS, app.app_context) < KEPT


def blocks_kept(times: int, context: Callable[[], AbstractContextManager[object]]) -> int:
    """Return how many blocks of memory many transactions in one context leave behind."""
    with context():
        transact(WARM)
        before = blocks()
        transact(times)
        after = blocks()
        db.session.remove()
    return after - before


def transact(times: int) -> None:
    for number in range(times):
        db.session.scalar(select(Item.name).limit(1))
        if number % 2:
            db.session.execute(text("SELECT 1"))
        db.session.commit()


def blocks() -> int:
    gc.collect()
    return sys.getallocatedblocks()


def test_the_freeze_keeps_nothing_that_is_made_later(make_app: Make, tables: None) -> None:
    """Cycles that an application builds afterwards are collected."""

    class Node:
        def __init__(self) -> None:
            self.itself = self

    app = make_app()
    try:
        app.extensions["pool"].prefill()
        seen = ref(Node())
        for _ in range(100_000):  # enough for a collection, which nobody asks for
            Node()
        assert seen() is None
    finally:
        gc.unfreeze()


IMPORTS = """
import sys
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from flask_pool import Pool
app, db = Flask("app"), SQLAlchemy()
app.config.update(SQLALCHEMY_DATABASE_URI="sqlite:///" + sys.argv[1], OPS_TOKEN="operator")
Pool(app, db)
with app.app_context():
    db.session.execute(db.text("SELECT 1"))
with app.test_client() as client:
    client.get("/")
    client.get("/pool.json", headers={"Authorization": "Bearer operator"})
heavy = {"matplotlib", "rich", "prometheus_client", "alembic", "flask_migrate", "gunicorn"}
print(*(name for name in sys.modules if name in heavy or "ops.commands." in name))
"""


def test_an_application_imports_only_what_it_uses(tmp_path: Path) -> None:
    command = [sys.executable, "-c", IMPORTS, str(tmp_path / "app.db")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)

    assert done.stdout.split() == []
