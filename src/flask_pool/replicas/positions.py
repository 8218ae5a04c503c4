"""Positions in a primary's log: how servers report them, and how they compare."""

from __future__ import annotations

from typing import Any

from ..connections import ACTIVE

UNKNOWN = "?"  # a position of which only the primary is sure
# how a primary and a replica say where they are in the primary's log, by driver
QUESTIONS = {
    "psycopg": (
        "SELECT CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_insert_lsn()::text END",
        # a crash may take a replica back: then it has started since
        """SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
        || ' ' || extract(epoch FROM pg_postmaster_start_time()) END""",
    ),
    "pymysql": ("SELECT @@gtid_current_pos", "SELECT @@gtid_slave_pos"),  # MariaDB's
}

Position = dict[int, int]  # how far each stream of changes is; PostgreSQL has one


def parse(position: str) -> Position:
    """Read a position as PostgreSQL (an LSN) or MariaDB (a GTID) writes it."""
    high, slash, low = position.partition("/")
    if slash:
        return {0: (int(high, 16) << 32) + int(low, 16)}
    parts = (gtid.split("-") for gtid in position.split(",") if gtid)
    return {int(domain): int(number) for domain, _, number in parts}


def covers(known: Position, wanted: Position) -> bool:
    """Tell whether a position is past another one."""
    return all(known.get(domain, -1) >= number for domain, number in wanted.items())


def ask(connection: Any, question: str) -> str | None:
    """Ask a driver's connection for its server's position: one round trip, no transaction.

    None from a replica that became a primary, or the reverse.
    """
    if hasattr(connection, "pgconn"):
        # below psycopg's cursors, which would begin a transaction, and show it to tracers
        if connection.pgconn.transaction_status == ACTIVE:
            raise ConnectionError("in the middle of an answer")
        answer = connection.pgconn.exec_(question.encode())
        if answer.ntuples != 1:
            raise ConnectionError(answer.error_message)
        value = answer.get_value(0, 0)
        return None if value is None else bytes(value).decode()
    with connection.cursor() as cursor:
        cursor.execute(question)
        row = cursor.fetchone()
    return str(next(iter(row.values())) if isinstance(row, dict) else row[0])
