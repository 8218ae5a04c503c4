"""Health: whether the process is alive, and whether it can serve."""

from __future__ import annotations

from functools import cache
from threading import Thread

from flask import Blueprint, Response, current_app, jsonify
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from werkzeug.exceptions import ServiceUnavailable

from .db import db
from .pool.metered import MeteredPool

PATIENCE = 1.0  # seconds that the database has to answer

bp = Blueprint("health", __name__, url_prefix="/healthz")


@bp.get("/live")
def live() -> Response:
    """The process answers; nothing else is touched."""
    return jsonify(status="live")


@bp.get("/ready")
def ready() -> Response:
    """The pool hands out a connection that answers within a second, on a migrated schema."""
    check: Check | None = current_app.extensions.get("health")
    if check is None or not check.is_alive():
        engine = current_app.extensions["pool"].twins[db.engine].deferred
        check = Check(engine, f"{current_app.root_path}/migrations")
        current_app.extensions["health"] = check
        check.start()
    check.join(PATIENCE)
    verdict = check.verdict or check.late()
    if verdict != "ready":
        raise ServiceUnavailable(verdict, retry_after=1)
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
                self.verdict = "ready" if migrated(connection, self.migrations) else "unmigrated"
        except PoolTimeoutError:
            self.verdict = "exhausted"
        except SQLAlchemyError:
            self.verdict = "unreachable"

    def late(self) -> str:
        """Say what holds the check up: the pool or the database."""
        pool = self.engine.pool
        waits = isinstance(pool, MeteredPool) and pool.gate.waiting > 0
        return "exhausted" if waits else "unreachable"


def migrated(connection: Connection, migrations: str) -> bool:
    """Tell whether the schema is this version's; a newer one, in a rolling update, will do."""
    from alembic.migration import MigrationContext  # slow to import, and not needed to serve

    heads, known = revisions(migrations)
    current = set(MigrationContext.configure(connection).get_current_heads())
    return bool(current) and not (current & known - heads)


@cache
def revisions(migrations: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the newest revisions and all revisions of this version's migrations."""
    from alembic.script import ScriptDirectory

    script = ScriptDirectory(migrations)
    known = frozenset(revision.revision for revision in script.walk_revisions())
    return frozenset(script.get_heads()), known
