"""A database from outside: its tables, their rows, and what was left open in it."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from typing import Any

from kit import ERRORS, rows, word
from sqlalchemy.engine import URL

# the rows that every view begins with
ROWS = (
    "INSERT INTO item (id, name, value) VALUES (1, 'one', 10), (2, 'two', 20)",
    "INSERT INTO child (id, item_id, name) VALUES (1, 1, 'kid'), (2, 1, 'brat')",
)
# what a table's own numbers begin with
FIRST_ID = 10
TABLES = ("late", "child", "item", "note")


class Database(ABC):
    """A database and a connection to it that commits at once."""

    schema: tuple[str, ...]
    # what a connection carries with it to its next borrower
    state: str

    def __init__(self, url: URL) -> None:
        self.url = url
        self.connection = self.connect()
        for statement in self.schema:
            self.run(statement)
        self.reset()
        self.first = self.contents()

    @abstractmethod
    def connect(self) -> Any:
        """Connect."""

    @abstractmethod
    def made(self) -> list[str]:
        """Give the names of tables that views made."""

    @abstractmethod
    def left_open(self) -> Any:
        """Tell what applications left open or locked; nothing if all is well."""

    def run(self, statement: str) -> Any:
        """Run one statement and give its rows, or how many it touched."""
        with contextlib.closing(self.connection.cursor()) as cursor:
            cursor.execute(statement)
            return rows(cursor.fetchall()) if cursor.description else cursor.rowcount

    def outside(self, statement: str) -> Any:
        """Run one statement for a view, as somebody else, and give what it gave or its error."""
        try:
            return self.run(statement)
        except ERRORS as error:
            return word(error)

    def contents(self) -> dict[str, Any]:
        """Give the rows of all tables, and how many those have that views made."""
        found = {table: self.outside(f"SELECT * FROM {table} ORDER BY 1, 2") for table in TABLES}
        return found | {
            name: self.outside(f"SELECT count(*) FROM {name}") for name in sorted(self.made())
        }

    def reset(self) -> None:
        """Bring the tables back to their first rows."""
        for name in self.made():
            self.run(f"DROP TABLE {name}")
        for table in TABLES:
            self.run(f"DELETE FROM {table}")
        for statement in ROWS:
            self.run(statement)

    @abstractmethod
    def disconnect_others(self) -> None:
        """End whatever an application left connected, where that can be done."""
