"""SQLite's connection, which a child process lets go of."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import Any

# as SQLAlchemy recognises a connection that is gone
CLOSED = "Cannot operate on a closed database."

_parents: list[sqlite3.Connection] = []  # never closed: that would write into a parent's files


class Connection(sqlite3.Connection):
    """A connection that nobody can use after a fork."""

    def may_read_alone(self, cursor: Any) -> bool:
        """Tell whether a read without a transaction would see what it sees with one."""
        return not self.in_transaction

    def abandon(self) -> None:
        """Let go, in a child process, of what is its parent's connection."""
        _parents.append(self)
        self.__class__ = Abandoned


class Abandoned(Connection):
    """A parent process's connection: whatever is done with it in a child does nothing."""

    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        """Raise what SQLAlchemy takes for a connection that is gone."""
        raise sqlite3.ProgrammingError(CLOSED)

    execute = executemany = executescript = commit = cursor

    def rollback(self) -> None:
        """Leave the parent's transaction alone."""

    def close(self) -> None:
        """Leave the parent's connection open."""


def prepare(connection: Any, record: object) -> None:
    """Set a new connection up for a service: foreign keys checked, readers beside a writer."""
    connection.execute("PRAGMA foreign_keys = ON")
    # the file remembers its mode; who comes while another process sets it need not wait
    with contextlib.suppress(sqlite3.OperationalError):
        connection.execute("PRAGMA journal_mode = WAL")
