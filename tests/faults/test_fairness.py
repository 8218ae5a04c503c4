"""Who waits is served in turn, and no slot is ever lost or given twice."""

from __future__ import annotations

import json
from typing import Any

import servers

from .conftest import Database
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
