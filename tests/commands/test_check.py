"""`flask pool check` against servers that are set up wrongly on purpose."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Thread
from typing import Any

import psutil
import pytest
import servers

from .conftest import Pool, Told

OWN_ROLE = "service"
JSON = ("check", "--format", "json")
FITTING: dict[str, Any] = {
    "WEB_CONCURRENCY": 2, "SQLALCHEMY_POOL_SIZE": 3, "SQLALCHEMY_MAX_OVERFLOW": 1,
}  # fmt: skip


@pytest.fixture
def role(postgresql: servers.PostgreSQL) -> Iterator[str]:
    """Give the URL of a role that is no superuser, with a database of its own."""
    database = postgresql.create_database()
    postgresql.rows(f"CREATE ROLE {OWN_ROLE} LOGIN PASSWORD '{OWN_ROLE}'")
    yield f"postgresql+psycopg://{OWN_ROLE}:{OWN_ROLE}@127.0.0.1:{postgresql.port}/{database}"
    postgresql.rows(f"DROP ROLE {OWN_ROLE}")


def test_what_fits_has_no_findings(pool: Pool, role: str) -> None:
    """A role of its own, a pool within the limit, the same machine."""
    told = pool(role, *JSON, **FITTING)
    assert (told.code, told.findings) == (0, {})
    assert told.data["pools"][0]["limit"] == 97
    assert "No findings." in pool(role, "check", **FITTING).out


def test_the_budget_counts_workers_overflow_instances_and_reserved_slots(
    pool: Pool, role: str
) -> None:
    """12 instances of 2 x 4 fit into 100 slots of which 3 are reserved, 13 don't."""
    assert pool(role, *JSON, "--instances", "12", **FITTING).code == 0
    told = pool(role, *JSON, "--instances", "13", **FITTING)
    assert (told.code, told.findings) == (1, {"budget": "error"})
    assert "104 connections (13 instances x 2 workers x 4) of 97" in told.out


def test_a_reload_needs_room_too(pool: Pool, role: str) -> None:
    """Old and new workers run at once for a while."""
    told = pool(role, *JSON, "--instances", "7", **FITTING)
    assert (told.code, told.findings) == (0, {"reload": "warning"})


@pytest.mark.parametrize("what", [f"ROLE {OWN_ROLE}", "DATABASE {database}"])
def test_limits_of_role_and_database_count(
    pool: Pool, role: str, postgresql: servers.PostgreSQL, what: str
) -> None:
    """The smallest limit is the one that holds."""
    database = role.rpartition("/")[2]
    postgresql.rows(f"ALTER {what.format(database=database)} CONNECTION LIMIT 7")
    told = pool(role, *JSON, **FITTING)
    assert (told.code, told.findings) == (1, {"budget": "error"})
    assert told.data["pools"][0]["limit"] == 7


def test_a_superuser_is_told_to_be_none(pool: Pool, postgresql: servers.PostgreSQL) -> None:
    """No limit would stop the service."""
    told = pool(postgresql.url(), *JSON, **FITTING)
    assert (told.code, told.findings) == (0, {"superuser": "warning"})


def test_a_server_that_closes_idle_connections(pool: Pool, postgresql: servers.PostgreSQL) -> None:
    """Recycling comes too late at 1800 s; a ping that comes too late is an error."""
    database = postgresql.create_database()
    postgresql.rows(f"ALTER DATABASE {database} SET idle_session_timeout = '20s'")
    url = postgresql.url(database)
    assert pool(url, *JSON, **FITTING).findings["recycle"] == "warning"
    assert "recycle" not in pool(url, *JSON, SQLALCHEMY_POOL_RECYCLE=19, **FITTING).findings
    told = pool(url, *JSON, SQLALCHEMY_POOL_PING_AFTER=20, **FITTING)
    assert (told.code, told.findings["ping"]) == (1, "error")


@pytest.mark.needs("mariadb")
def test_a_mariadb_of_few_and_short_connections(pool: Pool) -> None:
    """Its own limits count as PostgreSQL's do."""
    with servers.mariadb(max_connections=10, wait_timeout=60, max_user_connections=7) as server:
        told = pool(server.url(), *JSON, SQLALCHEMY_POOL_RECYCLE=-1, **FITTING)
    assert told.code == 1
    assert told.findings == {"budget": "error", "recycle": "warning"}
    assert told.data["pools"][0]["limit"] == 7


def test_statements_without_an_end(pool: Pool, role: str) -> None:
    """Options in the URL win; those that say nothing of the timeout leave it as it is."""
    other = pool(f"{role}?options=-c%20work_mem%3D8MB", *JSON, **FITTING)
    assert other.findings == {}
    endless = "options=-c%20statement_timeout%3D0&connect_timeout=0"
    told = pool(f"{role}?{endless}", *JSON, **FITTING)
    assert told.findings == {"statement_timeout": "warning", "connect_timeout": "warning"}


@pytest.mark.parametrize("server", ["postgresql", "mariadb"])
def test_plain_text_over_a_network(pool: Pool, server: str, request: pytest.FixtureRequest) -> None:
    """A server at another address than the loopback's has to be asked for TLS."""
    running: Any = request.getfixturevalue(server)
    address = own_address()
    with forwarder(address, running.port) as port:
        url = running.url().replace(f"127.0.0.1:{running.port}", f"{address}:{port}")
        told = pool(url, *JSON, **FITTING)
    expected = "warning" if ipaddress.ip_address(address).is_private else "error"
    assert told.findings["plain_text"] == expected


def test_sqlite_is_for_one_instance(pool: Pool, tmp_path: Path) -> None:
    """Each instance would have a database of its own."""
    url = f"sqlite:///{tmp_path}/check.db"
    assert pool(url, *JSON).findings == {}
    told = pool(url, *JSON, "--instances", "2")
    assert (told.code, told.findings) == (1, {"sqlite_instances": "error"})


class TestPgBouncer:
    """In front of the server, in the modes that fit and in those that do not."""

    def check(self, pool: Pool, url: str, *arguments: str, **settings: Any) -> Told:
        """Run the check with settings that fit otherwise."""
        pooler = {"SQLALCHEMY_EXTERNAL_POOLER": "pgbouncer"}
        return pool(url, *JSON, *arguments, **FITTING | pooler | settings)

    def test_it_is_found_behind_the_url(self, pool: Pool, pgbouncer: servers.PgBouncer) -> None:
        """An address does not tell; the numbers of the connections do."""
        told = self.check(pool, pgbouncer.url(), SQLALCHEMY_EXTERNAL_POOLER="none")
        assert (told.code, told.findings["pooler"]) == (1, "error")

    def test_it_is_missed_where_it_should_be(
        self, pool: Pool, postgresql: servers.PostgreSQL
    ) -> None:
        """Without it, its settings cost safety for nothing."""
        told = self.check(pool, postgresql.url())
        assert (told.code, told.findings["pooler"]) == (0, "warning")

    def test_transaction_mode_is_right(
        self, pool: Pool, pgbouncer: servers.PgBouncer, postgresql: servers.PostgreSQL
    ) -> None:
        """With a statement timeout on the server nothing of the pooler is left to say."""
        database = postgresql.create_database()
        postgresql.rows(f"ALTER DATABASE {database} SET statement_timeout = '30s'")
        told = self.check(pool, pgbouncer.url(database))
        assert (told.code, told.findings) == (0, {"superuser": "warning"})

    @pytest.mark.needs("pgbouncer")
    def test_session_mode_is_wrong(self, pool: Pool, postgresql: servers.PostgreSQL) -> None:
        """Each pooled connection keeps one of its few."""
        with servers.pgbouncer(postgresql, "session", default_pool_size=5) as bouncer:
            told = self.check(pool, bouncer.url())
            assert (told.code, told.findings["pool_mode"]) == (1, "error")
            roomy = self.check(pool, bouncer.url(), SQLALCHEMY_POOL_SIZE=1)
            assert (roomy.code, roomy.findings["pool_mode"]) == (0, "warning")

    @pytest.mark.needs("pgbouncer")
    def test_its_own_limits_count(self, pool: Pool, postgresql: servers.PostgreSQL) -> None:
        """Clients that it refuses are an error, threads that wait for it a warning."""
        with servers.pgbouncer(postgresql, default_pool_size=5, max_client_conn=15) as bouncer:
            told = self.check(pool, bouncer.url())
            assert (told.code, told.findings["pooler_size"]) == (0, "warning")
            told = self.check(pool, bouncer.url(), "--instances", "2")
            assert (told.code, told.findings["max_client_conn"]) == (1, "error")

    @pytest.mark.needs("pgbouncer")
    def test_it_may_not_open_more_than_the_server_grants(
        self, pool: Pool, postgresql: servers.PostgreSQL
    ) -> None:
        """Its pool is the server's budget then."""
        with servers.pgbouncer(postgresql, default_pool_size=98) as bouncer:
            told = self.check(pool, bouncer.url())
        assert (told.code, told.findings["pooler_budget"]) == (1, "error")


def own_address() -> str:
    """Find an address of this machine that is not the loopback's."""
    found = (each for addresses in psutil.net_if_addrs().values() for each in addresses)
    usable = (each.address for each in found if each.family == socket.AF_INET)
    try:
        return next(one for one in usable if not one.startswith(("127.", "169.254.")))
    except StopIteration:
        pytest.skip("this machine has no network at all")


@contextmanager
def forwarder(address: str, port: int) -> Iterator[int]:
    """Forward an address of this machine to a port of its loopback."""

    class Line(BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(("127.0.0.1", port)) as server:
                Thread(target=carry, args=(server, self.request), daemon=True).start()
                carry(self.request, server)

    with ThreadingTCPServer((address, 0), Line) as forwarding:
        forwarding.daemon_threads = True
        Thread(target=forwarding.serve_forever, args=[0.01], daemon=True).start()
        yield forwarding.server_address[1]
        forwarding.shutdown()


def carry(source: socket.socket, target: socket.socket) -> None:
    """Pass on what arrives until nothing more does."""
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return
