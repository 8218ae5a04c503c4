"""Behind PgBouncer, which gives a server connection for one transaction only."""

from __future__ import annotations

from collections.abc import Iterator

import fixtures_servers
import pytest
import servers

from .conftest import Database, Serve
from .load import REQUESTS, load, statuses
from .project import Project, Setting

BEHIND: dict[str, Setting] = {"SQLALCHEMY_EXTERNAL_POOLER": "pgbouncer"}
SERVER_CONNECTIONS = 3

pytestmark = pytest.mark.needs("pgbouncer")


@pytest.fixture(scope="module")
def bouncer(postgresql: servers.PostgreSQL) -> Iterator[servers.PgBouncer]:
    """Give a PgBouncer with fewer server connections than the service has of its own."""
    fixtures_servers.require("pgbouncer")
    with servers.pgbouncer(postgresql, default_pool_size=SERVER_CONNECTIONS) as server:
        yield server


def test_reads_and_writes_of_more_clients_than_server_connections(
    on_postgresql: Database, bouncer: servers.PgBouncer, serve: Serve
) -> None:
    """Eight connections of the service share three of the server, and nothing fails."""
    service = serve(bouncer.url(on_postgresql.name), **BEHIND)

    answers = load(lambda n: service.get() if n % 3 else service.post(f"user {n}"), REQUESTS // 2)

    writes = len(range(0, REQUESTS // 2, 3))
    assert statuses(answers) == {200: REQUESTS // 2 - writes, 201: writes}
    assert len(on_postgresql.names()) == writes
    clients = [c for c in bouncer.show("CLIENTS") if c["database"] == on_postgresql.name]
    assert len(clients) == 8
    assert 1 <= len(on_postgresql.connections()) <= SERVER_CONNECTIONS
    assert service.get("/healthz/ready").status == 200
    assert "prepared" not in service.log()


def test_migrations_run_through_it(
    postgresql: servers.PostgreSQL, bouncer: servers.PgBouncer, project: Project
) -> None:
    """Three deployments at once, too: the lock that they take lasts for one transaction."""
    name = postgresql.create_database()

    for _ in range(2):
        project.migrate(bouncer.url(name), **BEHIND)

    database = Database(postgresql, name)
    assert len(database.rows("SELECT version_num FROM alembic_version")) == 1
    assert database.names() == []


def test_its_restart_costs_503_and_nothing_else(
    on_postgresql: Database, bouncer: servers.PgBouncer, serve: Serve
) -> None:
    """The same as a restart of the server itself."""
    service = serve(bouncer.url(on_postgresql.name), **BEHIND)
    load(lambda _: service.get(), 40)

    bouncer.stop()
    refused = load(lambda _: service.get(), 20)
    bouncer.start()
    answers = load(lambda _: service.get(), 40)

    assert all(answer.is_clean_refusal for answer in refused)
    assert statuses(answers) == {200: 40}


def test_server_connections_that_die_behind_it_cost_no_read(
    on_postgresql: Database, bouncer: servers.PgBouncer, serve: Serve
) -> None:
    """PgBouncer drops the client of a dead server connection: the read is run once more."""
    service = serve(bouncer.url(on_postgresql.name), **BEHIND)
    load(lambda _: service.get(), 40)

    for _ in range(5):
        on_postgresql.kill()
        answers = load(lambda _: service.get(), 20)
        assert statuses(answers) == {200: 20}
