"""SQLite set up for a service: readers and a writer at once, foreign keys checked."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine


def watch(engine: Engine) -> None:
    """Prepare each new connection, if this is SQLite."""
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare)


def _prepare(connection: Any, record: Any) -> None:
    connection.execute("PRAGMA foreign_keys = ON")
    # the file remembers its mode; who comes while another process sets it need not wait
    with contextlib.suppress(sqlite3.OperationalError):
        connection.execute("PRAGMA journal_mode = WAL")
