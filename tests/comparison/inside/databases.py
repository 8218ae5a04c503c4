"""The kinds of databases, each as its own words have it."""

from __future__ import annotations

import sqlite3
import time
from typing import Any

import psycopg
import pymysql
import schemas
from database import FIRST_ID, ROWS, TABLES, Database
from sqlalchemy.engine import URL


class PostgreSQL(Database):
    """PostgreSQL, through psycopg."""

    schema = schemas.POSTGRESQL
    state = (
        "SELECT nullif(current_setting('app.tenant', true), ''),"
        " current_setting('transaction_isolation'),"
        " current_setting('transaction_read_only'), current_setting('work_mem'),"
        " current_setting('default_transaction_isolation'), current_setting('search_path'),"
        " current_setting('default_transaction_read_only'), current_user,"
        " current_setting('statement_timeout'), current_setting('lock_timeout'),"
        # the functions below views, which take longer to plan than to run
        " (SELECT count(*) FROM pg_listening_channels()),"
        " (SELECT count(*) FROM pg_cursor() WHERE is_holdable),"
        " pg_my_temp_schema() <> 0 AND EXISTS"
        " (SELECT FROM pg_class WHERE relnamespace = pg_my_temp_schema())"
    )

    def connect(self) -> Any:
        """Connect, and never wait long for a lock."""
        return psycopg.connect(
            self.url.set(drivername="postgresql").render_as_string(hide_password=False),
            autocommit=True,
            options="-c lock_timeout=30 -c statement_timeout=5000"
            " -c default_transaction_isolation=read\\ committed",
        )

    def made(self) -> list[str]:
        """Give the names of tables that views made."""
        found: list[str] = self.run(
            "SELECT relname FROM pg_class WHERE relname LIKE 'made%' AND relkind = 'r'"
            " AND relpersistence = 'p'"
        )
        return found

    def contents(self) -> dict[str, Any]:
        """Give the rows, and what lies beside tables, in one round trip."""
        tables = ", ".join(
            f"'{name}', (SELECT json_agg(t ORDER BY t.id) FROM {name} t)" for name in TABLES
        )
        found: dict[str, Any] = self.run(
            f"SELECT json_build_object({tables},"
            " 'made', (SELECT json_agg(relname ORDER BY relname) FROM pg_class WHERE relname"
            " LIKE 'made%' AND relkind = 'r' AND relpersistence = 'p'),"
            " 'numbers', (SELECT last_value FROM numbers),"
            " 'ids', (SELECT last_value FROM item_id_seq),"
            " 'large', (SELECT count(*) FROM pg_largeobject_metadata), 'prepared',"
            " (SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()))"
        )[0]
        return found

    def reset(self) -> None:
        """Bring the tables and the sequences back, in one round trip."""
        self.run(
            "; ".join(
                (
                    *(f"DROP TABLE {name}" for name in self.made()),
                    *(f"DELETE FROM {table}" for table in TABLES),
                    *ROWS,
                    (
                        "SELECT setval('item_id_seq', 10, false), setval('numbers', 1, false),"
                        " setval('child_id_seq', 10, false), setval('note_id_seq', 10, false)"
                    ),
                    "SELECT lo_unlink(oid) FROM pg_largeobject_metadata",
                )
            )
        )

    def left_open(self) -> Any:
        """Tell of transactions and advisory locks; a backend may take a moment to end."""
        for _ in range(3):
            found = self.run(
                "SELECT (SELECT count(*) FROM pg_stat_get_activity(NULL) WHERE datid = this.oid"
                " AND pid <> pg_backend_pid() AND state LIKE 'idle in transaction%'),"
                " (SELECT count(*) FROM pg_lock_status() WHERE locktype = 'advisory'"
                " AND database = this.oid)"
                " FROM pg_database this WHERE datname = current_database()"
            )[0]
            if found == [0, 0]:
                return None
            time.sleep(0.01)
        return found

    def disconnect_others(self) -> None:
        """End all other backends of this database."""
        self.run(
            "SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    def default_level(self, level: str) -> None:
        """Give every later connection to this database an isolation level."""
        name = str(self.url.database)
        self.run(f"ALTER DATABASE {name} SET default_transaction_isolation = '{level}'")


# the server's own housekeeping may hold a table for a moment
PATIENTLY = "SET STATEMENT lock_wait_timeout = 5 FOR"


class MariaDB(Database):
    """MariaDB, through PyMySQL."""

    schema = schemas.MARIADB
    state = (
        "SELECT @@session.tx_isolation, @@session.tx_read_only, @@session.sql_mode, @mark,"
        " coalesce(is_used_lock(concat(database(), '.a')) = connection_id(), 0),"
        " @@session.innodb_lock_wait_timeout, @@session.foreign_key_checks, @@session.unique_checks"
    )

    def connect(self) -> Any:
        """Connect, and never wait for a lock."""
        return pymysql.connect(
            host=self.url.host,
            port=self.url.port or 3306,
            user=self.url.username,
            password=str(self.url.password),
            database=self.url.database,
            autocommit=True,
            init_command="SET SESSION innodb_lock_wait_timeout = 0, lock_wait_timeout = 0",
        )

    def made(self) -> list[str]:
        """Give the names of tables that views made."""
        found: list[str] = self.run("SHOW TABLES LIKE 'made%'")
        return found

    def contents(self) -> dict[str, Any]:
        """Give the rows, and what the next numbers would be."""
        return super().contents() | self._numbers()

    def reset(self) -> None:
        """Bring the tables and the numbers back."""
        super().reset()
        for name, value in self._numbers().items():
            if name == "numbers" and value != 1:
                self.run(f"{PATIENTLY} CREATE OR REPLACE SEQUENCE numbers NOCACHE")
            if name != "numbers" and value != FIRST_ID:
                table = name.removesuffix("_id")
                self.run(f"{PATIENTLY} ALTER TABLE {table} AUTO_INCREMENT = {FIRST_ID}")

    def _numbers(self) -> dict[str, Any]:
        found = self.outside(
            "SELECT concat(table_name, '_id'), auto_increment FROM information_schema.tables"
            " WHERE table_schema = database() AND table_name IN ('item', 'child', 'note')"
        )
        number = self.outside("SELECT next_not_cached_value FROM numbers")
        return dict(found) | {"numbers": number[0]}

    def left_open(self) -> Any:
        """Tell whether a transaction still holds a table, or somebody a named lock."""
        for _ in range(5):
            found = self.outside(f"LOCK TABLES {', '.join(f'{name} WRITE' for name in TABLES)}")
            self.run("UNLOCK TABLES")
            named = self.run("SELECT is_used_lock(concat(database(), '.a')) IS NOT NULL")
            if (found, named) == (0, [0]):
                return None
            time.sleep(0.01)
        return [found, named]

    def disconnect_others(self) -> None:
        """End all other connections to this database."""
        for number in self.run(
            "SELECT id FROM information_schema.processlist"
            " WHERE db = database() AND id <> connection_id()"
        ):
            self.outside(f"KILL {number}")


class SQLite(Database):
    """SQLite, through the standard library."""

    schema = schemas.SQLITE
    state = (
        "SELECT (SELECT group_concat(name) FROM pragma_database_list), foreign_keys, query_only,"
        " read_uncommitted, cache_size, (SELECT count(*) FROM sqlite_temp_master)"
        " FROM pragma_foreign_keys, pragma_query_only, pragma_read_uncommitted, pragma_cache_size"
    )

    def connect(self) -> Any:
        """Connect, and never wait for a lock."""
        return sqlite3.connect(
            str(self.url.database), timeout=0, isolation_level=None, check_same_thread=False
        )

    def made(self) -> list[str]:
        """Give the names of tables that views made."""
        found: list[str] = self.run(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'made%'"
        )
        return found

    def contents(self) -> dict[str, Any]:
        """Give the rows, and the number in the file's header."""
        return super().contents() | {"beside": self.run("PRAGMA user_version")}

    def reset(self) -> None:
        """Bring the tables and the header back."""
        super().reset()
        self.run("PRAGMA user_version = 0")

    def left_open(self) -> Any:
        """Tell whether somebody else holds the file, to write or to read."""
        writing = self.outside("BEGIN IMMEDIATE")
        self.outside("ROLLBACK")
        reading = self.outside("PRAGMA wal_checkpoint(RESTART)")
        busy = reading if isinstance(reading, str) else reading[0][0]
        return None if (writing, busy) == (-1, 0) else [writing, busy]

    def disconnect_others(self) -> None:
        """Do nothing: nobody can end another's connection to a file."""


def database(url: URL) -> Database:
    """Give the database behind a URL."""
    kinds = {"postgresql": PostgreSQL, "mysql": MariaDB, "sqlite": SQLite}
    return kinds[url.get_backend_name()](url)
