"""New connections: which host they lead to, and their time limits."""

from __future__ import annotations

import contextlib
import logging
import re
import ssl
import sys
from typing import Any

from sqlalchemy.engine import Dialect, Engine, ExceptionContext
from sqlalchemy.pool import ConnectionPoolEntry

from .connections import WAS_READ_ONLY, limit_silence
from .errors import is_read_only
from .options import Settings
from .queue_pool import FairQueuePool

DEFAULT_PORT = "5432"
# how poolers refuse what they can't pass on (PgBouncer, Odyssey; Amazon's RDS Proxy)
REFUSED = ("unsupported startup parameter", "support command-line options")
# what `options` adds in front of the application's
OURS = re.compile(r"^(?:-c (?:statement_timeout|tcp_keepalives_\w+)=\S+ ?)+")

HANDSHAKE = "flask_pool.handshake"
FOREIGN_KEYS = "flask_pool.foreign_keys"  # whether they were checked before a migration
OWN_LIMIT = re.compile(r"max_(statement|execution)_time", re.IGNORECASE)

logger = logging.getLogger(__name__)

_refusing = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class Hosts:
    """Where psycopg's connections lead: to one of several hosts, and perhaps to a pooler."""

    def __init__(self, engine: Engine) -> None:
        self.name = engine.url.set(query={}).render_as_string(hide_password=True)
        self.primary: tuple[str, str] | None = None  # the host and port that was one last
        self.pooler = False
        if isinstance(engine.pool, FairQueuePool):
            engine.pool.try_again = self.is_pooler

    def choose(
        self, dialect: Dialect, record: ConnectionPoolEntry, cargs: Any, cparams: dict[str, Any]
    ) -> None:
        """Name the last primary first; send no start parameters to a pooler."""
        several = "," in str(cparams.get("host", ""))
        if self.primary and several and cparams.get("target_session_attrs") == "read-write":
            # a silent host that is named before costs each connection its timeout
            places = _places(cparams)
            places.sort(key=lambda place: place != self.primary)
            cparams["host"], cparams["port"] = (
                ",".join(each) for each in zip(*places, strict=True)
            )
        if self.pooler:
            cparams["options"] = OURS.sub("", cparams.get("options", ""))
            if not cparams["options"]:
                del cparams["options"]
            cparams["prepare_threshold"] = None

    def learn(self, connection: Any, record: ConnectionPoolEntry) -> None:
        """Note which host it is, and whether it takes changes."""
        try:
            self.primary = connection.info.host, str(connection.info.port)
            if is_read_only(connection):
                record.info[WAS_READ_ONLY] = True
        except Exception:  # noqa: BLE001, S110 - not psycopg's own: then it is not known
            pass

    def is_pooler(self, error: BaseException) -> bool:
        """Tell whether a connect failed at a pooler, and how it may not the next time."""
        if self.pooler or not any(words in str(error) for words in REFUSED):
            return False
        self.pooler = True
        logger.warning(
            "%s is a pooler: it refuses start parameters, so none are sent, and statements are not"
            " kept prepared; set SQLALCHEMY_EXTERNAL_POOLER=pgbouncer",
            self.name,
        )
        return True

    def notice(self, context: ExceptionContext) -> None:
        """Learn from a connect that failed, for the next one; listens to `handle_error`."""
        if context.connection is None:
            self.is_pooler(context.original_exception)


def _places(cparams: dict[str, Any]) -> list[tuple[str, str]]:
    hosts = str(cparams["host"]).split(",")
    ports = str(cparams.get("port", "")).split(",") * len(hosts)
    return [(host, port or DEFAULT_PORT) for host, port in zip(hosts, ports, strict=False)]


def limit_handshake(
    dialect: Dialect, record: ConnectionPoolEntry | None, cargs: Any, cparams: dict[str, Any]
) -> None:
    """Bound PyMySQL's handshake, for which it has no limit; `limit_pymysql` takes it away."""
    if record is not None and cparams.get("read_timeout") is None:
        cparams["read_timeout"] = cparams.get("connect_timeout") or None
        record.info[HANDSHAKE] = True


def limit_pymysql(
    settings: Settings, dialect: Any, connection: Any, record: ConnectionPoolEntry
) -> None:
    """Bound statements on the server, and silence of the network on the socket."""
    if record.info.pop(HANDSHAKE, False):
        connection._read_timeout = None  # noqa: SLF001 - see connections.py
    limit_silence(connection, settings["SQLALCHEMY_CONNECT_TIMEOUT"])
    if settings["SQLALCHEMY_EXTERNAL_POOLER"] != "none":
        return
    if OWN_LIMIT.search(getattr(connection, "init_command", None) or ""):
        return
    timeout = settings["SQLALCHEMY_STATEMENT_TIMEOUT"]
    # each server reads its own comment: MariaDB counts seconds, MySQL milliseconds
    limit = (
        f"SET SESSION /*M!100101 max_statement_time={timeout:g} */"
        f"/*!50708 max_execution_time={int(timeout * 1000)} */"
    )
    try:
        with connection.cursor() as cursor:
            cursor.execute(limit)
    except dialect.loaded_dbapi.OperationalError as error:
        if dialect.is_disconnect(error, connection, None):
            raise
        logger.warning("statements have no time limit: %s", error)


def forget_tls_errors(connection: Any, record: ConnectionPoolEntry, proxy: Any) -> None:
    """Empty OpenSSL's queue of errors, which a dead TLS connection of this thread may have left.

    CPython would raise them from the next connection: github.com/python/cpython/issues/148594.
    """
    if isinstance(getattr(connection, "_sock", None), ssl.SSLSocket):
        with contextlib.suppress(ssl.SSLError):
            _refusing.set_ciphers("none")


def prepare_sqlite(connection: Any, record: ConnectionPoolEntry) -> None:
    """Have foreign keys checked, and readers go on beside a writer."""
    connection.execute("PRAGMA foreign_keys = ON")
    # the file remembers its mode; who comes while somebody uses it need not wait
    (patience,) = connection.execute("PRAGMA busy_timeout").fetchone()
    connection.execute("PRAGMA busy_timeout = 0")
    with contextlib.suppress(Exception):
        connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA busy_timeout = {patience}")


def spare_migrations(connection: Any, record: ConnectionPoolEntry, proxy: Any) -> None:
    """Leave foreign keys unchecked for Alembic; listens to `checkout`.

    On SQLite it changes a table by copying and dropping it, and rows that refer to it would go too.
    """
    if _in_migration():
        if FOREIGN_KEYS not in record.info:
            record.info[FOREIGN_KEYS] = connection.execute("PRAGMA foreign_keys").fetchone()[0]
            connection.execute("PRAGMA foreign_keys = OFF")
    elif FOREIGN_KEYS in record.info:
        connection.execute(f"PRAGMA foreign_keys = {record.info.pop(FOREIGN_KEYS)}")


def _in_migration() -> bool:
    """Tell whether Alembic runs an `env.py` in this process."""
    try:
        sys.modules["alembic.context"].is_offline_mode()
    except (KeyError, NameError, AttributeError):  # not loaded; no environment, or none any more
        return False
    return True
