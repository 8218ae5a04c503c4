"""PyMySQL's connection, bounded in time, and able to read without a transaction."""

from __future__ import annotations

import contextlib
import re
import select
import ssl
from threading import Lock
from typing import Any

import pymysql
from pymysql.constants import CR
from pymysql.constants.SERVER_STATUS import SERVER_STATUS_IN_TRANS

from ..requests import note_commit, note_seen, note_transaction
from . import HUNG_UP, POSITIONS, cut

LOOKED_AT = 10_000  # bytes of a statement
# the context of connections without TLS options of their own
_shared: list[ssl.SSLContext] = []
_lock = Lock()
_refusing = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

# what begins no transaction, ends one, or can't stand in one that has begun
NO_BEGIN = re.compile(
    r"\s*(SET(?!\s+STATEMENT\b)(?![^;]*[(;])\b|BEGIN(\s+WORK)?\s*$|START\s+TRANSACTION\b"
    r"|COMMIT\b|ROLLBACK\b|XA\b|LOCK\s+TABLE|UNLOCK\b)",
    re.I,
)
# what the server's status after it can be believed of; others commit on their way
SURE = re.compile(
    r"[\s(]*(SELECT|INSERT|UPDATE|DELETE|REPLACE|WITH|VALUES|SET|SHOW|EXPLAIN|DESC|SAVEPOINT|RELEASE"
    r"|COMMIT|ROLLBACK|BEGIN(\s+WORK)?\s*$|START)",
    re.I,
)
SET = re.compile(r"\s*SET\b", re.I)
NEXT_TRANSACTION = re.compile(r"\s*SET\s+TRANSACTION\b", re.I)
READ_COMMITTED = re.compile(r"READ.(UN)?COMMITTED", re.I)
LOCK_TABLES = re.compile(r"\s*LOCK\s+TABLE", re.I)
UNLOCK_TABLES = re.compile(r"\s*UNLOCK\b", re.I)


class Connection(pymysql.Connection):  # type: ignore[misc]
    """A PyMySQL connection that begins transactions by itself, as late as the server would.

    For the server each statement is a transaction of its own (autocommit), until this class
    sends BEGIN before it. So a read that needs no transaction takes one round trip, and
    whatever else comes, from a raw cursor too, is in a transaction, as PEP 249 has it.
    """

    follows = False  # says where the server's log is after commits and reads
    _begins = False  # PEP 249's way, and not autocommit
    _quiet = True  # while connecting, and while a read runs alone
    _isolated = False  # above READ COMMITTED
    _next_isolated = False  # SET TRANSACTION waits for its transaction
    _unsure = False  # the server said that something failed, and not what became of the rest
    _busy = False  # a query is being sent or answered

    @property
    def deadline(self) -> float | None:
        """Seconds that the server has to send something."""
        seconds: float | None = self._read_timeout
        return seconds

    @deadline.setter
    def deadline(self, seconds: float | None) -> None:
        self._read_timeout = seconds

    def connect(self, sock: Any = None) -> None:
        """Connect, with connect_timeout as the bound of the handshake too."""
        kept, self.deadline = self.deadline, self.connect_timeout
        try:
            super().connect(sock)
        finally:
            self.deadline = kept
        if not super().get_autocommit():
            super().query("SET autocommit = 1")
        self._isolated = not READ_COMMITTED.search(self.init_command or "")
        self._quiet = False

    def autocommit(self, value: bool) -> None:
        """Choose whether each statement commits by itself; the server need not know."""
        self._begins = not value
        if value and self.in_transaction:  # as a server would
            self.commit()

    def get_autocommit(self) -> bool:
        """Tell whether each statement commits by itself."""
        return not self._begins and super().get_autocommit()

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open on the server, asked if that is not known."""
        if self._unsure:
            self._unsure = False
            self.ping(reconnect=False)
        return bool(self.server_status & SERVER_STATUS_IN_TRANS)

    def query(self, sql: str | bytes | bytearray, unbuffered: bool = False) -> int:
        """Run a statement, in a transaction unless it needs none."""
        text = sql if isinstance(sql, str) else bytes(sql[:LOOKED_AT]).decode("utf-8", "replace")
        if not self._quiet:
            note_transaction()
            self._prepare(text)
        self._busy = True
        try:
            rows: int = super().query(sql, unbuffered)
        except pymysql.MySQLError:
            self._unsure = not self._closed  # an error does not say what became of the transaction
            raise
        finally:
            self._busy = False
        if not self._quiet:
            self._follow(text)
        return rows

    def _prepare(self, sql: str) -> None:
        """Begin if this statement needs it; have the server begin where only it can."""
        if not self._begins or not super().get_autocommit():
            return
        if LOCK_TABLES.match(sql):
            super().query("SET autocommit = 0")  # BEGIN would release the locks
        elif not self.in_transaction and not NO_BEGIN.match(sql):
            self.begin()
            self._next_isolated = False

    def _follow(self, sql: str) -> None:
        """Learn from a statement what it changed for those that follow."""
        if UNLOCK_TABLES.match(sql) and self._begins and not super().get_autocommit():
            super().query("SET autocommit = 1")
        self._unsure = not SURE.match(sql)
        if not SET.match(sql):
            return
        said = sql.lower()
        if "autocommit" in said:
            self._begins = not super().get_autocommit()
        if NEXT_TRANSACTION.match(sql):
            self._next_isolated = True
        elif "isolation" in said:
            self._isolated = not READ_COMMITTED.search(sql)

    def may_read_alone(self, cursor: Any) -> bool:
        """Tell whether a read without a transaction would see what it sees with one."""
        return (
            self._begins
            and not self._isolated
            and not self._next_isolated
            and super().get_autocommit()
            and not self.in_transaction
            and type(cursor) is pymysql.cursors.Cursor  # not one that the server keeps
        )

    def read_alone(self, cursor: Any, statement: str, parameters: Any) -> None:
        """Run one statement, which only reads, outside of a transaction."""
        self._quiet = True
        try:
            cursor.execute(statement, parameters)
            if self.follows:
                note_seen(self._position())
        finally:
            self._quiet = False

    def commit(self) -> None:
        """Commit; an error says `in_doubt` if the connection died after COMMIT was sent."""
        if super().get_autocommit() and not self.in_transaction:
            return
        if self.hung_up():
            self.close()
            raise pymysql.OperationalError(CR.CR_SERVER_LOST, HUNG_UP)
        try:
            super().commit()
        except pymysql.MySQLError as error:
            error.in_doubt = self._sock is None
            self._unsure = True
            if self.follows:
                note_commit(None)
            raise
        if self.follows:
            note_commit(self._position())

    def _position(self) -> str | None:
        """Ask where the log is, which PyMySQL can't learn from the answer before."""
        kept, self._quiet = self._quiet, True
        try:
            with self.cursor(pymysql.cursors.Cursor) as cursor:
                cursor.execute(POSITIONS["pymysql"][0])
                found: str | None = cursor.fetchall()[0][0]
                return found
        except pymysql.MySQLError:  # what came before it is done all the same
            return None
        finally:
            self._quiet = kept

    def rollback(self) -> None:
        """Roll back if a transaction may be open, else send nothing: each read ends here."""
        if self._busy:  # in another thread: what it will read is not for the next one
            self.close()
        self._next_isolated = False
        if self._sock is None:  # the server has rolled back
            return
        if self._unsure or not super().get_autocommit() or self.in_transaction:
            self._unsure = False
            try:
                super().rollback()
            except (pymysql.OperationalError, pymysql.InterfaceError):  # it is gone: as good
                self.close()

    def hung_up(self) -> bool:
        """Tell whether the server's end is closed, as far as this machine knows by now."""
        if self._sock is None:
            return True
        result = self._result
        if self._busy or (result is not None and (result.unbuffered_active or result.has_next)):
            return False  # there is more of an answer to be read
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        # a server that was not asked anything says nothing but its farewell
        return bool(poll.poll(0))

    def close(self) -> None:
        """Close, if that is still to be done."""
        with contextlib.suppress(pymysql.err.Error):
            super().close()
        if self._secure:
            # what OpenSSL still has to say of this connection, CPython would say of the next one
            # in this thread (github.com/python/cpython/issues/148594): a refusal empties its queue
            with contextlib.suppress(ssl.SSLError):
                _refusing.set_ciphers("none")

    def abandon(self) -> None:
        """Let go, in a child process, of what is its parent's connection."""
        if self._sock is not None:
            cut(self._sock.fileno())
            self.close()

    def _create_ssl_ctx(self, options: Any) -> ssl.SSLContext:
        # it loads all certificates of the machine, 20 ms of CPU for each new connection
        if options:
            own: ssl.SSLContext = super()._create_ssl_ctx(options)
            return own
        with _lock:
            if not _shared:
                _shared.append(super()._create_ssl_ctx(options))
            return _shared[0]
