"""Who waits is served in turn, and no slot is ever lost or given twice."""

from __future__ import annotations

import json
from typing import Any

import servers

from .conftest import Database, Serve
from .load import load
from .project import Project, Setting
from .service import INSIDE


def report(project: Project, database: Database, *command: str, **settings: Setting) -> Any:
    """Run a script inside the project's environment and read what it prints last."""
    script, *arguments = command
    said = project.run(
        database.url(), "python", "-W", "ignore", str(INSIDE / script), *arguments, **settings
    )
    return json.loads(said.splitlines()[-1])


def test_twenty_threads_on_two_connections_get_equal_shares(
    any_database: Database, project: Project
) -> None:
    """The busiest has at most 1.5 times the checkouts of the idlest, and nobody times out."""
    found = report(
        project,
        any_database,
        "fairness.py",
        SQLALCHEMY_POOL_SIZE=2,
        SQLALCHEMY_MAX_OVERFLOW=0,
        SQLALCHEMY_POOL_TIMEOUT=servers.paced(5),
    )

    assert found["timeouts"] == []
    assert min(found["counts"]) >= 10
    assert max(found["counts"]) <= 1.5 * min(found["counts"])


def test_no_slot_is_lost_however_checkouts_end(any_database: Database, project: Project) -> None:
    """The pool's counts, its metrics and the server's own list agree at the end."""
    found = report(
        project,
        any_database,
        "stress.py",
        "40",
        SQLALCHEMY_POOL_SIZE=3,
        SQLALCHEMY_MAX_OVERFLOW=2,
        SQLALCHEMY_POOL_TIMEOUT=30,
    )

    assert [outcome for outcome in found["seen"] if outcome.startswith("unplanned")] == []
    assert len(found["seen"]) == 11
    assert found["rested"] == {
        "capacity": 5,
        "waiting": 0,
        "checkedout": 0,
        "used": 0,
        "idle - on the server": 0,
        "held on the server": 5,
        "used while held": 5,
    }


def test_a_failed_connect_lets_the_next_waiter_try_at_once(
    on_postgresql: Database, serve: Serve
) -> None:
    """Twelve requests in line for one slot, on a server that refuses: none waits for nothing."""
    service = serve(
        on_postgresql.url(),
        WEB_CONCURRENCY=1,
        WEB_THREADS=12,
        SQLALCHEMY_POOL_SIZE=1,
        SQLALCHEMY_POOL_TIMEOUT=servers.paced(8),
    )

    on_postgresql.server.stop()
    try:
        answers = load(lambda _: service.get(), 48, threads=12)
    finally:
        on_postgresql.server.start()

    assert all(answer.is_clean_refusal for answer in answers)
    assert max(answer.seconds for answer in answers) < servers.paced(5)
    assert service.metric("db_client_connection_timeouts_total") == 0
