"""PostgreSQL with all hosts in the URL: the driver looks for the one that takes writes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import servers
from faults.project import Project
from faults.service import SMALL
from servers.standby import configure

from .conftest import MakeClients

pytestmark = pytest.mark.needs("postgresql")

LIMITS = ("SQLALCHEMY_STATEMENT_TIMEOUT", "SQLALCHEMY_CONNECT_TIMEOUT")


@pytest.fixture(scope="module")
def cluster() -> Iterator[servers.Cluster]:
    """Give a primary and two standbys, one of which has whatever was acknowledged."""
    with servers.cluster(2, "ANY 1 (s1, s2)") as cluster:
        yield cluster


def test_a_standby_that_is_promoted_is_found(
    cluster: servers.Cluster, project: Project, clients: MakeClients
) -> None:
    """When the primary was killed, and the next one froze, whose connections never break."""
    first, (second, third) = cluster.primary, cluster.standbys
    database = first.create_database()
    first.rows("CREATE TABLE probe (id int)", database=database)
    project.migrate(first.url(database))
    they = clients("several hosts", cluster.url(database), database)

    def kill() -> None:
        first.stop(crash=True)
        third.follow(second)
        second.promote()

    def freeze() -> None:
        second.pause()
        third.promote()

    killed = they.watch("primary killed", kill, second)
    killed.check(second)
    configure(second, "synchronous_standby_names", "ANY 1 (s2)")
    try:
        # what a frozen server was asked before is held up for as long as the limits say
        limit = sum(float(SMALL[name]) for name in LIMITS)
        frozen = they.watch("primary frozen", freeze, third, limit=limit)
        frozen.check(third)
    finally:
        second.stop(crash=True)
