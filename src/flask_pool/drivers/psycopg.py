"""psycopg's connection, bounded in time, and able to read without a transaction."""

from __future__ import annotations

from time import monotonic
from typing import Any, Self

import psycopg
from psycopg.abc import RV, PQGen
from psycopg.pq import TransactionStatus

from ..requests import note_commit, note_seen, note_transaction
from . import HUNG_UP, POSITIONS, cut

IDLE = TransactionStatus.IDLE
ASKED_TO_STOP = "57014"  # statement_timeout, or somebody's cancel
# within these each statement sees what was committed before it, transaction or not
READ_COMMITTED = (
    None,
    psycopg.IsolationLevel.READ_COMMITTED,
    psycopg.IsolationLevel.READ_UNCOMMITTED,
)
READ_ONLY = ("in_hot_standby", "default_transaction_read_only")  # the server reports these
DEFAULT_PORT = "5432"
# which of a URL's hosts was the primary when it was found last
_primaries: dict[tuple[str, str], tuple[str, str]] = {}


class Connection(psycopg.Connection[Any]):
    """A psycopg connection on which no wait outlasts `deadline` seconds."""

    deadline: float | None = None
    follows = False  # says where the server's log is after commits and reads
    only_reads = False  # a transaction would find no use
    alone = False  # in autocommit for a statement that needs no transaction
    waits = False  # for the server, in some thread
    # the isolation of a transaction that asks for none, as server, database or role have it
    default_isolation = "read committed"
    # when this was opened the server took no changes: nor does what began then, whatever came since
    was_read_only = False

    @classmethod
    def connect_within(cls, deadline: float, *args: Any, **kwargs: Any) -> Self:
        """Connect, and learn the server's default isolation level."""
        hosts = str(kwargs.get("host", "")), str(kwargs.get("port", ""))
        looks = kwargs.get("target_session_attrs") == "read-write" and "," in hosts[0]
        connection = cls.connect(*args, **kwargs | (_last_first(*hosts) if looks else {}))
        if looks:
            _primaries[hosts] = connection.info.host, str(connection.info.port)
        connection.deadline = deadline
        connection.was_read_only = connection.is_read_only()
        connection.alone = connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute("SHOW default_transaction_isolation")
                connection.default_isolation = cursor.fetchall()[0][0]
        except BaseException:
            connection.close()  # at once, not when the garbage collector comes by
            raise
        connection.alone = connection.autocommit = False
        return connection

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """Wait for the server; OperationalError and a closed connection when it is late."""
        if timeout is not None:  # the caller's own, which it expects to pass
            return super().wait(gen, interval, timeout)
        started, self.waits = monotonic(), True
        try:
            return super().wait(gen, interval, self.deadline)
        except psycopg.OperationalError:
            if self.deadline is not None and monotonic() - started >= self.deadline:
                self.close()  # the answer may still come, for nobody
            raise
        finally:
            self.waits = False
            # in autocommit each statement may have been a transaction of its own
            if not self.alone and (self.autocommit or self.pgconn.transaction_status != IDLE):
                note_transaction()

    def may_read_alone(self, cursor: Any) -> bool:
        """Tell whether a read without a transaction would see what it sees with one."""
        return (
            self.pgconn.transaction_status == IDLE
            and not self.autocommit
            and self.isolation_level in READ_COMMITTED
            and (self.isolation_level is not None or self.default_isolation.startswith("read"))
            and type(cursor) is psycopg.Cursor  # not one that the server keeps
        )

    def read_alone(self, cursor: Any, statement: str, parameters: Any) -> None:
        """Run one statement, which only reads, outside of a transaction."""
        self.alone = self.autocommit = True  # in the client alone: nothing is sent
        try:
            if self.follows:
                note_seen(self._followed(cursor, statement, parameters))
            else:
                cursor.execute(statement, parameters)
            failed = False
        except psycopg.Error as error:
            if self.closed or self.only_reads or error.sqlstate == ASKED_TO_STOP:
                raise
            failed = True
        finally:
            if self.pgconn.transaction_status == IDLE:
                self.autocommit = False
            self.alone = False
        if failed:
            # a transaction must have failed, as what is sent after this would see
            cursor.execute(statement, parameters)

    def commit(self) -> None:
        """Commit; an error says `in_doubt` if the connection died after COMMIT was sent."""
        if self.pgconn.transaction_status == IDLE:
            return
        if self.hung_up():
            raise psycopg.OperationalError(HUNG_UP)
        try:
            if self.follows:
                self._commit_and_follow()
            else:
                super().commit()
        except psycopg.Error as error:
            error.in_doubt = self.closed  # type: ignore[attr-defined]
            raise

    def _commit_and_follow(self) -> None:
        commit, position = self.cursor(), None
        try:
            position = self._followed(commit, "COMMIT")
        except psycopg.Error:
            if commit.statusmessage is None:
                note_commit(position)
                raise
        if commit.statusmessage == "COMMIT":  # not of a transaction that had failed
            note_commit(position)

    def _followed(self, cursor: Any, statement: Any, parameters: Any = None) -> str | None:
        """Run a statement, and return where the log is after it, in one round trip."""
        asked = self.cursor()
        with self.pipeline():
            cursor.execute(statement, parameters)
            asked.execute(POSITIONS["psycopg"][0], prepare=False)  # what fails is not to be kept
        found: str | None = asked.fetchall()[0][0]
        return found

    def rollback(self) -> None:
        """Roll back if a transaction is open, else do nothing: each read ends here."""
        status = self.pgconn.transaction_status
        if status == TransactionStatus.ACTIVE and not self.waits:
            self.close()  # in the middle of an answer, whose reader keeps the lock
        elif status != IDLE and not self.closed:  # else the server has rolled back
            try:
                super().rollback()
            except psycopg.OperationalError:  # it is gone, and has rolled back too
                self.close()

    def is_read_only(self) -> bool:
        """Tell whether the server itself, and not just a transaction, takes no changes."""
        return "on" in (self.info.parameter_status(name) for name in READ_ONLY)

    def hung_up(self) -> bool:
        """Tell whether the server's end is closed, as far as this machine knows by now."""
        try:
            # what the server said last, then the end
            self.pgconn.consume_input()
            self.pgconn.consume_input()
        except psycopg.OperationalError:
            self.close()
        return self.closed

    def abandon(self) -> None:
        """Let go, in a child process, of what is its parent's connection."""
        if not self.closed:
            cut(self.pgconn.socket)
            self.close()


def _last_first(hosts: str, ports: str) -> dict[str, str]:
    """Put the host that was the primary before first, as a silent one costs a timeout each time."""
    names = hosts.split(",")
    places = list(zip(names, (ports.split(",") * len(names))[: len(names)], strict=True))
    primary = _primaries.get((hosts, ports))
    places.sort(key=lambda place: (place[0], place[1] or DEFAULT_PORT) != primary)
    return {
        "host": ",".join(host for host, _ in places),
        "port": ",".join(port for _, port in places),
    }
