"""PostgreSQL under Patroni, behind HAProxy: a standby is promoted, and HAProxy leads to it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import servers
from faults.project import Project
from servers.guard import processes_in

from .conftest import BehindHAProxy, MakeClients
from .outage import Clients

pytestmark = pytest.mark.needs("postgresql", "patroni", "etcd", "haproxy")


@pytest.fixture(scope="module")
def cluster() -> Iterator[servers.PatroniCluster]:
    """Give two PostgreSQL servers under Patroni."""
    with servers.patroni() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def they(
    cluster: servers.PatroniCluster,
    project: Project,
    clients: MakeClients,
    behind_haproxy: BehindHAProxy,
) -> Clients:
    """Give clients of a service whose URL names HAProxy."""
    primary = cluster.primary()
    database = primary.create_database()
    primary.rows("CREATE TABLE probe (id int)", database=database)
    project.migrate(primary.url(database))
    addresses = {
        node.label: f"127.0.0.1:{node.port} check port {node.check_port}" for node in cluster.nodes
    }
    way = behind_haproxy("postgresql", addresses)
    servers.wait_until(lambda: cluster.is_primary_behind(way.port, database))
    return clients("Patroni", primary.url(database, way.port), database)


def test_a_killed_postgresql_is_started_again(
    cluster: servers.PatroniCluster, they: Clients
) -> None:
    """Its Patroni still holds the lock and starts it where it was."""
    cluster.wait_for_standby()
    primary = cluster.primary()

    outage = they.watch("PostgreSQL killed", primary.crash_postgresql, *cluster.nodes)

    outage.check(cluster.primary())


@pytest.mark.parametrize("event", ["node killed", "node frozen"])
def test_the_standby_of_a_node_that_is_lost_is_found(
    cluster: servers.PatroniCluster, they: Clients, event: str
) -> None:
    """With all its processes, whether they broke their connections or just say nothing more."""
    cluster.wait_for_standby()
    primary = cluster.primary()
    (standby,) = (node for node in cluster.nodes if node is not primary)

    try:
        if event == "node killed":
            outage = they.watch(event, lambda: primary.stop(crash=True), standby)
        else:
            outage = they.watch(event, primary.pause, standby)
        outage.check(standby)
    finally:
        primary.stop(crash=True)
        primary.start()


def test_nothing_is_left_of_a_killed_run() -> None:
    """Kill the process that has a cluster: PostgreSQL, which is nobody's child, goes too."""
    program = (
        "import signal, servers\n"
        "with servers.patroni(1) as cluster:\n"
        "    print(cluster.nodes[0].folder.parent, flush=True)\n"
        "    signal.pause()\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(servers.__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        folder = Path(process.stdout.readline().strip())
        ran = [found.name() for found in processes_in(folder)]
        process.kill()
    assert "postgres" in ran
    servers.wait_until(lambda: not folder.exists() and not processes_in(folder))
