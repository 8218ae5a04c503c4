"""Reads from replicas: never older than what the client wrote or saw, and never a failure."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
import servers
from servers.standby import Cluster, Standby, cluster
from servers.waiting import wait_until

from .conftest import Serve
from .load import statuses, steadily
from .project import Project, Setting
from .service import Answer, Service

CLIENTS, ROUNDS, READS = 20, 5, 7  # reads after each write
HEADER, COOKIE = "Read-After", "Set-Cookie"
LATE = "3s"
ONE_WORKER: dict[str, Setting] = {
    "WEB_CONCURRENCY": 1,
    "WEB_THREADS": 8,
    "SQLALCHEMY_POOL_SIZE": 8,
    "SQLALCHEMY_POOL_PING_AFTER": 60,
}


@dataclass
class Client:
    """A client that brings back what it was told, as a cookie or as a header."""

    service: Service
    by_cookie: bool = False
    token: str = ""
    cookies: dict[str, str] = field(default_factory=dict)
    stale: list[str] = field(default_factory=list)

    def ask(self, method: str, path: str, body: Any = None) -> Answer:
        """Send a request and keep what the answer tells."""
        headers: Any = {HEADER: self.token} if self.token else {}
        if self.by_cookie:
            told = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
            headers = {"Cookie": told} if told else {}
        answer = self.service.request(method, path, body, **headers)
        if self.by_cookie and COOKIE in answer.headers:
            name, _, rest = answer.headers[COOKIE].partition("=")
            self.cookies[name] = rest.partition(";")[0]
        elif not self.by_cookie:
            self.token = answer.headers.get(HEADER, self.token)
        return answer

    def add(self) -> str:
        """Add a user and return where it is."""
        answer = self.ask("POST", "/users", {"name": "somebody"})
        assert answer.status == 201, answer
        return answer.headers["Location"]

    def live(self, rounds: int = ROUNDS, reads: int = READS) -> None:
        """Write and read for a while, and note what should have been there."""
        for _ in range(rounds):
            place = self.add()
            for _ in range(reads):
                answer = self.ask("GET", place)
                assert answer.status in (200, 404), answer
                if answer.status == 404:
                    self.stale.append(place)
                time.sleep(random.uniform(0, servers.paced(0.1)))


@pytest.fixture(scope="module")
def calm(project: Project) -> Iterator[Cluster]:
    """Give a primary and two standbys, which tests leave as they found them."""
    with cluster(2) as found:
        project.migrate(found.primary.url())
        for standby in found.standbys:
            standby.catch_up()
        yield found


@pytest.fixture
def doomed(project: Project) -> Iterator[Cluster]:
    """Give a primary and a standby that a test may end."""
    with cluster(1) as found:
        project.migrate(found.primary.url())
        found.standbys[0].catch_up()
        yield found


def replicas(nodes: Cluster, **settings: Setting) -> dict[str, Setting]:
    """Give the settings of a service that reads from the standbys."""
    urls = " ".join(standby.url() for standby in nodes.standbys)
    return ONE_WORKER | {"SQLALCHEMY_REPLICA_URIS": urls} | settings


def reads(server: servers.PostgreSQL) -> int:
    """Count the reads of users that a server has done, as far as it has told."""
    question = "SELECT seq_scan + idx_scan AS n FROM pg_stat_user_tables WHERE relname = 'users'"
    return int(server.rows(question)[0]["n"])


def states(service: Service) -> dict[str, bool]:
    """Tell which replicas are read from, as the page says."""
    answer = service.request("GET", "/pool.json", Authorization="Bearer operator")
    return {
        pool["name"]: pool["replica"]["usable"] for pool in answer.data["pools"] if pool["replica"]
    }


def wait_for(service: Service, **wanted: bool) -> None:
    """Read until the replicas are used, or left out, as wanted."""
    expected = {name.replace("_", "-"): state for name, state in wanted.items()}

    def there() -> bool:
        assert service.get().status == 200
        return states(service) == expected

    wait_until(there, 30)


@pytest.mark.needs("postgresql")
def test_nobody_who_wrote_reads_anything_older(calm: Cluster, serve: Serve) -> None:
    """From either of two workers, with one standby late; four reads of five are from standbys."""
    calm.standbys[1].delay_replay(LATE)
    service = serve(calm.primary.url(), **replicas(calm, WEB_CONCURRENCY=2))
    wait_for(service, replica_1=True, replica_2=True)
    before = {node.port: reads(node) for node in calm.nodes}

    clients = [Client(service, by_cookie=number % 2 == 0) for number in range(CLIENTS)]
    with ThreadPoolExecutor(CLIENTS) as executor:
        for one in [executor.submit(client.live) for client in clients]:
            one.result(120)

    assert [client.stale for client in clients] == [[]] * CLIENTS
    done: list[int] = []

    def all_told() -> bool:
        """Servers tell their statistics at the next statement, or after ten seconds."""
        done[:] = [reads(node) - before[node.port] for node in calm.nodes]
        return sum(done) >= CLIENTS * ROUNDS * READS

    wait_until(all_told, 30)
    assert sum(done[1:]) > 0.8 * CLIENTS * ROUNDS * READS, done
    calm.standbys[1].delay_replay("0")


@pytest.mark.needs("postgresql")
def test_without_a_primary_reads_go_on(doomed: Cluster, serve: Serve) -> None:
    """Writes are 503, the service is ready for reads and says so; with none left too all is 503."""
    standby: Standby = doomed.standbys[0]
    service = serve(doomed.primary.url(), **replicas(doomed, SQLALCHEMY_CONNECT_TIMEOUT=1))
    wait_for(service, replica_1=True)
    clients = [Client(service) for _ in range(4)]
    places = [client.add() for client in clients]
    for client, place in zip(clients, places, strict=True):
        assert client.ask("GET", place).status == 200
    standby.catch_up()

    with steadily(lambda _: service.get(), threads=4) as answers:
        doomed.primary.stop(crash=True)
        for client, place in zip(clients * 5, places * 5, strict=True):
            assert client.ask("GET", place).status == 200
        refused = [service.post("Nobody") for _ in range(5)]
        ready = service.get("/healthz/ready")
    assert set(statuses(answers)) == {200}, [one for one in answers if one.status != 200][:3]
    assert all(answer.is_clean_refusal for answer in refused), refused
    assert (ready.status, ready.data) == (200, {"status": "ready", "writes": False})

    standby.stop(crash=True)
    wait_until(lambda: service.get("/healthz/ready").status == 503)
    assert service.get().is_clean_refusal
    doomed.primary.start()
    wait_until(lambda: service.get().status == 200)
    assert service.post("Somebody").status == 201


@pytest.mark.needs("postgresql")
def test_each_replica_is_seen_counted_and_checked(
    doomed: Cluster, serve: Serve, project: Project
) -> None:
    """On the page, in the metrics, in the budget, and by `flask pool check`."""
    settings = replicas(doomed, SQLALCHEMY_REPLICA_LAG=2)
    service = serve(doomed.primary.url(), **settings)
    wait_for(service, replica_1=True)
    assert service.metric("db_client_connection_max", pool_name="replica-1") == 8
    found = service.request("GET", "/pool.json", Authorization="Bearer operator").data["pools"]
    assert [pool["name"] for pool in found] == ["default", "replica-1"]
    assert found[1]["budget"]["needed"] == 8

    def findings() -> set[tuple[str, str]]:
        command = ("flask", "pool", "check", "--format", "json")
        with project.start(doomed.primary.url(), *command, **settings) as process:
            said = process.communicate(timeout=60)[0]
        data = Answer(0, said, 0).data
        return {(one["pool"], one["name"]) for one in data["findings"]}

    assert ("default", "synchronous") in findings()
    assert not {name for pool, name in findings() if pool == "replica-1"} & {
        "read_only",
        "lag",
        "replica",
    }
    doomed.standbys[0].pause_replay()
    doomed.primary.rows("INSERT INTO users (name) VALUES ('late')")
    assert ("replica-1", "lag") in findings()
    doomed.standbys[0].promote()
    assert ("replica-1", "replica") in findings()
    doomed.standbys[0].stop()
    assert ("replica-1", "replica") in findings()
