"""Connection classes for the drivers, with what PEP 249 lacks and the pool needs.

Each is the driver's own class with a few methods more: whether a transaction is open, one
statement outside of a transaction, whether the server has hung up, and how a child process
lets go of its parent's connection.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from sqlalchemy.engine import Dialect

HUNG_UP = "the server closed the connection before COMMIT was sent"


# how a primary and a replica say where they are in the primary's log, by driver
POSITIONS = {
    "psycopg": (
        "SELECT CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_insert_lsn()::text END",
        "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()::text END",
    ),
    "pymysql": ("SELECT @@gtid_current_pos", "SELECT @@gtid_slave_pos"),  # MariaDB's
}


def connect(dialect: Dialect, cargs: Any, cparams: Any, deadline: float) -> Any:
    """Connect with the class for this dialect's driver; no wait outlasts `deadline` seconds."""
    # each driver may be missing
    if dialect.driver == "psycopg":
        from .psycopg import Connection as Psycopg

        return Psycopg.connect_within(deadline, *cargs, **cparams)
    if dialect.driver == "pymysql":
        from .pymysql import Connection as PyMySQL

        return PyMySQL(*cargs, **cparams)
    return dialect.connect(*cargs, **cparams)


def cut(descriptor: int) -> None:
    """Put a socket whose other end is closed in place of this one, in this process alone.

    So whatever a child process does with a connection of its parent fails as if the server
    had gone, and nothing reaches the server.
    """
    dead, other = socket.socketpair()
    other.close()
    os.dup2(dead.fileno(), descriptor)
    dead.close()
