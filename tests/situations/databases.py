"""A database of each kind, seen from outside of every application."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import Any

import psycopg
import pymysql
import pytest
from servers import wait_until
from sqlalchemy.engine import make_url

DATABASE = "situations"
TABLES = {
    "item": "name VARCHAR(50) UNIQUE, value INT DEFAULT 0, deleted INT DEFAULT 0",
    "child": "item_id INT REFERENCES item (id), name VARCHAR(50)",
}
ROWS = (
    "INSERT INTO item (id, name, value) VALUES (1, 'one', 10), (2, 'two', 20)",
    "INSERT INTO child (id, item_id, name) VALUES (1, 1, 'kid'), (2, 1, 'brat')",
)
SERIAL = {
    "postgresql": "SERIAL PRIMARY KEY",
    "mariadb": "INT AUTO_INCREMENT PRIMARY KEY",
    "sqlite": "INTEGER PRIMARY KEY",
}


class Database:
    """An empty database of one kind, seen from outside of every application."""

    def __init__(self, family: str, url: str, server: Any) -> None:
        self.family = family
        self.url = url
        self.server = server

    def connect(self, **changes: Any) -> Any:
        """Connect with the driver alone, with a URL's parts or others."""
        url = make_url(self.url)
        if self.family == "sqlite":
            return sqlite3.connect(str(url.database), **changes)
        place = {"host": url.host, "port": url.port, "user": url.username}
        own = {**place, "password": url.password, **changes}
        if self.family == "mariadb":
            return pymysql.connect(**{"database": url.database, **own})
        return psycopg.connect(**{"dbname": url.database, **own})

    def run(self, *statements: str) -> list[Any]:
        """Run statements, each committed at once, and give the last one's rows."""
        rows: list[Any] = []
        with contextlib.closing(self.connect()) as connection:
            for statement in statements:
                cursor = connection.cursor()
                cursor.execute(statement)
                rows = list(cursor.fetchall()) if cursor.description else []
                connection.commit()
        return [row[0] if len(row) == 1 else tuple(row) for row in rows]

    def names(self) -> list[str]:
        """Give the names of all items."""
        return self.run("SELECT name FROM item ORDER BY id")

    def kill(self) -> int:
        """End every connection of the applications."""
        killed: int = self.server.kill_backends(DATABASE)
        # the server says yes before it has done so
        wait_until(lambda: not self.connections(), pause=0.01)
        return killed

    def connections(self) -> int:
        """Count the applications' connections."""
        return len(self.server.connections(DATABASE))

    def prepare(self) -> None:
        """Make the tables when they are not there, and bring them to their first rows."""
        schema = {
            "postgresql": "SELECT tablename FROM pg_tables WHERE schemaname IN ('public', 'app')",
            "mariadb": "SELECT table_name FROM information_schema.tables"
            " WHERE table_schema = database()",
            "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table'",
        }
        there = set(self.run(schema[self.family]))
        serial = SERIAL[self.family]
        changes = [f"DROP TABLE {name}" for name in there - set(TABLES)]
        # emptying and filling is ten times as fast as making them anew
        if there >= set(TABLES):
            changes += ["DELETE FROM child", "DELETE FROM item"]
        else:
            changes += [f"CREATE TABLE {name} (id {serial}, {TABLES[name]})" for name in TABLES]
        if self.family == "postgresql":
            changes += ["SELECT setval('item_id_seq', 9), setval('child_id_seq', 9)"]
        self.run(*changes, *ROWS)


def on(*families: str) -> pytest.MarkDecorator:
    """Run a test on these kinds of databases only."""
    return pytest.mark.parametrize(
        "family", [family_param(name) for name in families], indirect=True
    )


def family_param(name: str) -> Any:
    """Give the parameter of a kind of database, marked where a server is needed."""
    marks = [] if name == "sqlite" else [pytest.mark.servers]
    return pytest.param(name, marks=marks)
