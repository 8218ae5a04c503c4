"""Health: whether the process is alive, and whether it can serve."""

from __future__ import annotations

from functools import cache
from threading import Thread

from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import Blueprint, Response, current_app, jsonify
from flask_pool import FairQueuePool
from sqlalchemy import text
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from werkzeug.exceptions import ServiceUnavailable

from .db import db

PATIENCE = 1.0  # seconds that the database has to answer
READ_ONLY = {
    "postgresql": "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on'",
    "mysql": "SELECT @@global.read_only",
    "mariadb": "SELECT @@global.read_only",
}
NO_PRIMARY = ("unreachable", "read_only")

bp = Blueprint("health", __name__, url_prefix="/healthz")


class NotReady(ServiceUnavailable):
    """The service can't serve, for this reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, retry_after=1)
        self.reason = reason


@bp.get("/live")
def live() -> Response:
    """The process answers; nothing else is touched."""
    return jsonify(status="live")


@bp.get("/ready")
def ready() -> Response:
    """The pool hands out a connection that answers within a second, and can write."""
    check: Check | None = current_app.extensions.get("health")
    if check is None or not check.is_alive():
        check = Check(db.engine, f"{current_app.root_path}/migrations")
        current_app.extensions["health"] = check
        check.start()
    check.join(PATIENCE)
    verdict = check.verdict or check.late()
    if verdict in NO_PRIMARY and current_app.extensions["pool"].reads_go_on():
        return jsonify(status="ready", writes=False)
    if verdict != "ready":
        raise NotReady(verdict)
    return jsonify(status=verdict)


class Check(Thread):
    """One look at the database, in a thread of its own so that nothing delays the answer."""

    def __init__(self, engine: Engine, migrations: str) -> None:
        super().__init__(daemon=True)
        self.engine = engine
        self.migrations = migrations
        self.verdict: str | None = None

    def run(self) -> None:
        """Come to a verdict."""
        try:
            with self.engine.connect() as connection:
                self.verdict = self.look(connection)
        except PoolTimeoutError:
            self.verdict = "exhausted"
        except SQLAlchemyError:
            self.verdict = "unreachable"

    def look(self, connection: Connection) -> str:
        """Say what this connection can be used for."""
        query = READ_ONLY.get(connection.dialect.name)
        if query and connection.scalar(text(query)):
            return "read_only"
        return "ready" if migrated(connection, self.migrations) else "unmigrated"

    def late(self) -> str:
        """Say what holds the check up: the pool or the database."""
        pool = self.engine.pool
        waits = isinstance(pool, FairQueuePool) and pool.waiting() > 0
        return "exhausted" if waits else "unreachable"


def migrated(connection: Connection, migrations: str) -> bool:
    """Tell whether the schema is this version's; a newer one, in a rolling update, will do."""
    heads, known = revisions(migrations)
    current = set(MigrationContext.configure(connection).get_current_heads())
    return bool(current) and not (current & known - heads)


@cache
def revisions(migrations: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the newest revisions and all revisions of this version's migrations."""
    script = ScriptDirectory(migrations)
    known = frozenset(revision.revision for revision in script.walk_revisions())
    return frozenset(script.get_heads()), known
