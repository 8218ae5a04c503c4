"""Health: whether the process is alive, and whether it can serve."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from threading import Thread
from typing import Any

from flask import Blueprint, Response, current_app, json, jsonify
from sqlalchemy import text
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from werkzeug.exceptions import ServiceUnavailable

from .queue_pool import FairQueuePool

ANSWER_WITHIN = 1.0  # seconds
READ_ONLY = {
    "postgresql": "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on'",
    "mysql": "SELECT @@global.read_only",
    "mariadb": "SELECT @@global.read_only",
}

bp = Blueprint("health", __name__, url_prefix="/healthz")


class NotReady(ServiceUnavailable):
    """The service can't serve, for this reason; a JSON problem where no handler formats it."""

    def __init__(self, reason: str) -> None:
        problem = {"title": self.name, "status": self.code, "detail": reason, "reason": reason}
        response = Response(json.dumps(problem), self.code, {"Retry-After": "1"})
        response.content_type = "application/problem+json"
        super().__init__(reason, response, retry_after=1)
        self.reason = reason


@bp.get("/live")
def live() -> Response:
    """The process answers; nothing else is touched."""
    return jsonify(status="live")


@bp.get("/ready")
def ready() -> Response:
    """The pool hands out a connection that answers within a second, and can write."""
    check: Check | None = current_app.extensions.get("pool_health")
    if check is None or not check.is_alive():
        check = current_app.extensions["pool_health"] = Check(current_app.extensions)
        check.start()
    check.join(ANSWER_WITHIN)
    verdict = check.verdict or check.late()
    pools = current_app.extensions.get("flask_pool")
    if verdict in ("unreachable", "read_only") and pools is not None and pools.reads_go_on():
        return jsonify(status="ready", writes=False)
    if verdict != "ready":
        raise NotReady(verdict)
    return jsonify(status=verdict)


class Check(Thread):
    """One look at the database, in a thread of its own so that nothing delays the answer."""

    def __init__(self, extensions: Mapping[str, Any]) -> None:
        super().__init__(daemon=True)
        self.engine: Engine = extensions["sqlalchemy"].engine
        self.migrate: Any = extensions.get("migrate")
        self.verdict: str | None = None

    def run(self) -> None:
        """Come to a verdict."""
        try:
            with self.engine.connect() as connection:
                self.verdict = self.judge(connection)
        except PoolTimeoutError:
            self.verdict = "exhausted"
        except SQLAlchemyError:
            self.verdict = "unreachable"

    def judge(self, connection: Connection) -> str:
        """Say what this connection can be used for."""
        query = READ_ONLY.get(connection.dialect.name)
        if query and connection.scalar(text(query)):
            return "read_only"
        if self.migrate is None or not Path(self.migrate.directory, "env.py").is_file():
            return "ready"
        return "ready" if migrated(connection, self.migrate) else "unmigrated"

    def late(self) -> str:
        """Say what holds the check up: the pool or the database."""
        pool = self.engine.pool
        waits = isinstance(pool, FairQueuePool) and pool.waiting() > 0
        return "exhausted" if waits else "unreachable"


def migrated(connection: Connection, migrate: Any) -> bool:
    """Tell whether the schema is this version's; a newer one, in a rolling update, will do."""
    from alembic.migration import MigrationContext

    heads, known = _revisions(migrate.directory)
    own = {key: value for key, value in migrate.configure_args.items() if "version_table" in key}
    current = set(MigrationContext.configure(connection, opts=own).get_current_heads())
    return not heads or (bool(current) and not current & (known - heads))


@cache
def _revisions(directory: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the newest revisions and all revisions of this version's migrations."""
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config(str(Path(directory, "alembic.ini")))
    config.set_main_option("script_location", directory.replace("%", "%%"))
    script = ScriptDirectory.from_config(config)
    known = frozenset(revision.revision for revision in script.walk_revisions())
    return frozenset(script.get_heads()), known
