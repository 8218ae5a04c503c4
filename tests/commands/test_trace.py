"""`flask pool trace` prints the lesson's table, from what really happens."""

from __future__ import annotations

import os
import pty
from pathlib import Path

import pytest
import servers
from flask.cli import ScriptInfo

from .conftest import Pool, application

TABLE = """\
| Step | Action | Pool state | Result |
| --- | --- | --- | --- |
| 1 | App starts and creates pool with 2 connections | 0 / 2 | Pool ready |
| 2 | First request arrives | 0 / 2 | Get connection from pool |
| 3 | Assign connection #1 to request | 1 / 1 | Connection #1 in use |
| 4 | Execute query using connection #1 | 1 / 1 | Query result: 1 |
| 5 | Return connection #1 to pool | 0 / 2 | Connection #1 available |
| 6 | Second request arrives | 0 / 2 | Get connection from pool |
| 7 | Assign connection #2 to request | 1 / 1 | Connection #2 in use |
| 8 | Execute query using connection #2 | 1 / 1 | Query result: 1 |
| 9 | Return connection #2 to pool | 0 / 2 | Connection #2 available |
| 10 | Third request arrives | 0 / 2 | Get connection from pool |
| 11 | Assign connection #1 to request (reused) | 1 / 1 | Connection #1 in use |
| 12 | Execute query using connection #1 | 1 / 1 | Query result: 1 |
| 13 | Return connection #1 to pool | 0 / 2 | Connection #1 available |
| 14 | App stops, close all connections | 0 / 0 | Pool closed |
"""
WAITING = [
    ("First request arrives", "0 / 2"),
    ("Assign connection #1 to request", "1 / 1"),
    ("Second request arrives", "1 / 1"),
    ("Assign connection #2 to request", "2 / 0"),
    ("Third request arrives", "2 / 0"),
    ("Third request waits for a connection", "2 / 0"),
    ("Execute query using connection #1", "2 / 0"),
    ("Return connection #1 to pool", "1 / 1"),
    ("Assign connection #1 to request (reused)", "2 / 0"),
    ("Execute query using connection #2", "2 / 0"),
    ("Return connection #2 to pool", "1 / 1"),
    ("Execute query using connection #1", "1 / 1"),
    ("Return connection #1 to pool", "0 / 2"),
]


@pytest.mark.parametrize("file", ["/{}/trace.db", ""])
def test_the_table_on_sqlite(pool: Pool, tmp_path: Path, file: str) -> None:
    """Row for row, in a file and in memory."""
    url = f"sqlite://{file.format(tmp_path)}"
    assert pool(url, "trace", "--format", "markdown").out == TABLE


def test_the_table_on_postgresql(pool: Pool, postgresql: servers.PostgreSQL) -> None:
    """Row for row, and each number is a backend process that the server logged."""
    url = postgresql.url(postgresql.create_database())
    assert pool(url, "trace", "--format", "markdown").out == TABLE

    before = len(postgresql.log())
    rows = pool(url, "trace", "--format", "json").data

    backends = {row["connection"]: row["backend"] for row in rows if row["connection"]}
    assert list(backends) == [1, 2]
    assert all((row["connection"], row["backend"]) in backends.items() for row in rows[2:5])
    log = postgresql.log()[before:]
    started = [pid for pid in set(backends.values()) if f"[{pid}] LOG:  connection auth" in log]
    assert len(started) == 2


def test_the_table_on_mariadb(pool: Pool, mariadb: servers.MariaDB) -> None:
    """Row for row."""
    url = mariadb.url(mariadb.create_database())
    assert pool(url, "trace", "--format", "markdown").out == TABLE


def test_overlapping_requests_wait_for_a_return(pool: Pool, postgresql: servers.PostgreSQL) -> None:
    """Two are served at once, the third gets what the first one returns; nothing stays open."""
    database = postgresql.create_database()

    rows = pool(postgresql.url(database), "trace", "--concurrent", "--format", "json").data

    assert [(row["action"], row["state"]) for row in rows[1:-1]] == WAITING
    servers.wait_until(lambda: not postgresql.connections(database))


def test_a_server_without_room_is_told_in_one_line(
    pool: Pool, postgresql: servers.PostgreSQL
) -> None:
    """A role that may connect once can't fill a pool of two."""
    postgresql.rows("DROP ROLE IF EXISTS lonely")
    postgresql.rows("CREATE ROLE lonely LOGIN PASSWORD 'lonely' CONNECTION LIMIT 1")
    url = f"postgresql+psycopg://lonely:lonely@127.0.0.1:{postgresql.port}/postgres"

    told = pool(url, "trace", "--concurrent")

    assert (told.code, told.out) == (1, "")
    assert told.err.startswith("Error: OperationalError: ")
    assert "too many connections" in told.err
    assert len(told.err.splitlines()) == 1


def test_people_get_a_drawn_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a terminal the table has lines; elsewhere it is plain text."""
    try:
        ours, theirs = pty.openpty()
    except OSError as error:
        pytest.skip(f"this system has no pseudo-terminal: {error}")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with application("sqlite://") as app, os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr("sys.stdout", terminal)
        info = ScriptInfo(create_app=lambda: app)
        app.cli.main(["pool", "trace"], "flask", obj=info, standalone_mode=False)
    assert "╭" in os.read(ours, 10_000).decode()
    os.close(ours)
