"""PostgreSQL with all hosts in the URL: the driver looks for the one that takes writes."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import servers
from faults.project import Project
from faults.service import SMALL, WITH_VIEWS, Service
from servers.process import PASSWORD, USER, running
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


def test_a_silent_host_costs_its_timeout_once(
    postgresql: servers.PostgreSQL, project: Project
) -> None:
    """Each connection begins with the host that was the primary before, wherever it stands."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hosts = f"host=127.0.0.1:{silent.getsockname()[1]}&host=127.0.0.1:{postgresql.port}"
        url = f"postgresql+psycopg://{USER}:{PASSWORD}@/postgres?{hosts}"
        with running(Service(project, url, WEB_CONCURRENCY=1)) as service:
            assert service.metric("db_client_connection_count") == SMALL["SQLALCHEMY_POOL_SIZE"]
        silent.setblocking(False)
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()


def test_a_transaction_that_began_before_the_promotion_is_refused(project: Project) -> None:
    """It can't write although its server can by now: 503, and the next one writes."""
    with servers.cluster() as cluster:
        (standby,) = cluster.standbys
        database = cluster.primary.create_database()
        project.migrate(cluster.primary.url(database))
        standby.catch_up()
        settings = {"WEB_CONCURRENCY": 1, "SQLALCHEMY_POOL_SIZE": 1}
        with (
            running(Service(project, standby.url(database), *WITH_VIEWS, **settings)) as service,
            ThreadPoolExecutor(1) as thread,
        ):
            late = thread.submit(service.request, "POST", "/probe/look_and_write?seconds=3")
            servers.wait_until(
                lambda: any(row["state"] == "idle in transaction" for row in standby.connections())
            )
            standby.promote()
            refused = late.result()
            after = service.post("after")

        assert refused.is_clean_refusal, refused
        assert refused.data["reason"] == "read_only"
        assert after.status == 201
