"""Behind PgBouncer, which gives a server connection for one transaction only."""

from __future__ import annotations

from collections.abc import Iterator

import fixtures_servers
import pytest
import servers

from .conftest import Database, Serve
from .load import load, statuses
from .project import Setting

BEHIND: dict[str, Setting] = {"SQLALCHEMY_EXTERNAL_POOLER": "pgbouncer"}
SERVER_CONNECTIONS = 3

pytestmark = pytest.mark.needs("pgbouncer")


@pytest.fixture(scope="module")
def bouncer(postgresql: servers.PostgreSQL) -> Iterator[servers.PgBouncer]:
    """Give a PgBouncer with fewer server connections than the service has of its own."""
    fixtures_servers.require("pgbouncer")
    with servers.pgbouncer(postgresql, default_pool_size=SERVER_CONNECTIONS) as server:
        yield server


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
