"""Galera behind HAProxy: any node takes writes, as long as it is one of a majority."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import servers
from faults.project import Project

from .conftest import BehindHAProxy, MakeClients
from .outage import Clients

pytestmark = pytest.mark.needs("mariadb", "galera", "rsync", "haproxy")


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[servers.GaleraNode]]:
    """Give a cluster of three."""
    with servers.galera() as nodes:
        nodes[0].rows("CREATE USER haproxy@'%'")  # as the check of ops/haproxy.cfg logs in
        yield nodes


@pytest.fixture(scope="module")
def they(
    nodes: list[servers.GaleraNode],
    project: Project,
    clients: MakeClients,
    behind_haproxy: BehindHAProxy,
) -> Clients:
    """Give clients of a service whose URL names HAProxy."""
    database = nodes[0].create_database()
    nodes[0].rows("CREATE TABLE probe (id int)", database=database)
    project.migrate(nodes[0].url(database))
    way = behind_haproxy(
        "galera",
        {f"n{number}": f"127.0.0.1:{node.port} check" for number, node in enumerate(nodes)},
    )
    return clients("Galera", nodes[0].url(database, way.port), database)


def in_use(nodes: list[servers.GaleraNode], they: Clients) -> servers.GaleraNode:
    """Give the node that the service is connected to; it is one alone."""
    used = [node for node in nodes if node.connections(they.database)]
    assert len(used) == 1
    return used[0]


@pytest.mark.parametrize("event", ["node killed", "node frozen"])
def test_another_node_is_found(nodes: list[servers.GaleraNode], they: Clients, event: str) -> None:
    """All clients move to the same one, and stay there when the lost one is back."""
    victim = in_use(nodes, they)
    others = [node for node in nodes if node is not victim]

    try:
        if event == "node killed":
            outage = they.watch(event, lambda: victim.stop(crash=True), *others)
        else:
            outage = they.watch(event, victim.pause, *others)
        # they answer until they suspect the lost one, and then not until they have agreed
        outage.check(others[0], steady=False)
        found = in_use(others, they)
    finally:
        victim.resume()
        if event == "node killed":
            victim.start()
        servers.wait_until(victim.is_ready)
    back = they.watch(f"{event}, now back", lambda: None, victim)
    back.check(victim)
    assert in_use(nodes, they) is found


def test_a_node_without_quorum_is_left(nodes: list[servers.GaleraNode], they: Clients) -> None:
    """Nothing is written until there is a majority again, and what was on its way is in doubt."""
    victim = in_use(nodes, they)
    others = [node for node in nodes if node is not victim]

    def lose_quorum() -> None:
        for node in others:
            node.pause()
        servers.wait_until(lambda: not victim.is_ready())
        time.sleep(2)
        for node in others:
            node.resume()

    outage = they.watch("quorum lost", lose_quorum, *others)

    # the majority may be the other two for a while
    servers.wait_until(others[0].is_ready)
    outage.check(others[0], steady=False)
