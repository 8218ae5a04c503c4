"""Reads from replicas: never older than what the client wrote or saw, and never a failure."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
import servers
from servers.mariadb_replica import replicated
from servers.standby import Cluster, Standby, cluster
from servers.waiting import wait_until

from .conftest import Serve
from .load import load, statuses, steadily
from .project import Project, Setting
from .service import WITH_VIEWS, Answer, Service

CLIENTS, ROUNDS, READS = 20, 5, 7  # reads after each write
HEADER, COOKIE = "Read-After", "Set-Cookie"
LATE = "3s"
LOOKS = 45  # at a server in a second, at most
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
@pytest.mark.parametrize("workers", [1, 2])
def test_nobody_who_wrote_reads_anything_older(calm: Cluster, serve: Serve, workers: int) -> None:
    """With one standby three seconds late, and four reads of five from standbys."""
    calm.standbys[1].delay_replay(LATE)
    service = serve(calm.primary.url(), **replicas(calm, WEB_CONCURRENCY=workers))
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
def test_what_was_seen_once_stays_seen(calm: Cluster, serve: Serve) -> None:
    """Of a client that never wrote, though another standby is three seconds behind."""
    calm.standbys[1].delay_replay(LATE)
    service = serve(calm.primary.url(), **replicas(calm))
    wait_for(service, replica_1=True, replica_2=True)
    writer = Client(service)

    def watch(reader: Client) -> None:
        for place in places:
            found = [reader.ask("GET", place).status for _ in range(20)]
            assert found == sorted(found, reverse=True), found  # no 200 before a 404

    for _ in range(3):
        places = [writer.add()]
        readers = [Client(service) for _ in range(8)]
        with ThreadPoolExecutor(8) as executor:
            for one in [executor.submit(watch, reader) for reader in readers]:
                one.result(120)
    calm.standbys[1].delay_replay("0")


@pytest.mark.needs("postgresql")
def test_a_read_is_one_round_trip_and_a_write_four(
    calm: Cluster, serve: Serve, proxy: Callable[[int], servers.Proxy]
) -> None:
    """With what clients bring back, too; looks at the servers come on top, but few."""
    between = [proxy(node.port) for node in calm.nodes]
    primary, *others = (
        node.url(port=one.port) for node, one in zip(calm.nodes, between, strict=True)
    )
    service = serve(primary, **ONE_WORKER, SQLALCHEMY_REPLICA_URIS=" ".join(others))
    wait_for(service, replica_1=True, replica_2=True)
    client = Client(service)
    place = client.add()

    def assert_costs(trips: int, ask: Callable[[], Answer], times: int) -> None:
        """Compare with what the looks at each server leave."""
        load(lambda _: ask(), 20, threads=1)
        before, started = sum(one.round_trips for one in between), time.monotonic()
        answers = load(lambda _: ask(), times, threads=1)
        assert set(statuses(answers)) <= {200, 201}
        spent = sum(one.round_trips for one in between) - before
        looked = LOOKS * len(between) * (time.monotonic() - started + 1)
        assert trips * times <= spent <= trips * times + looked, (spent, looked)

    assert_costs(1, lambda: service.get(place), 500)
    assert_costs(1, lambda: client.ask("GET", place), 500)
    assert_costs(4, lambda: client.ask("POST", "/users", {"name": "One"}), 500)
    # a read that no replica is known to be fit for costs the primary no more
    for standby in calm.standbys:
        standby.pause_replay()
    try:
        place = client.add()
        assert_costs(1, lambda: client.ask("GET", place), 500)
    finally:
        for standby in calm.standbys:
            standby.resume_replay()


@pytest.mark.needs("postgresql")
@pytest.mark.parametrize("probe", ["locks", "now", "explicit", "nested", "writes"])
def test_whatever_is_no_plain_read_goes_to_the_primary(
    calm: Cluster, share: Serve, probe: str
) -> None:
    """And so does what follows in the same request."""
    service = share(calm.primary.url(), *WITH_VIEWS, **replicas(calm))
    wait_for(service, replica_1=True, replica_2=True)

    # each worker sends a statement to the primary first
    def all_on_standbys() -> bool:
        answers = [service.get("/probe/where?then=plain") for _ in range(10)]
        return all(answer.data["standby"] for answer in answers)

    servers.wait_until(all_on_standbys)
    answers = [service.get(f"/probe/where?then={probe}") for _ in range(10)]
    assert not any(answer.data["standby"] for answer in answers), answers


@pytest.mark.needs("postgresql")
def test_who_saw_the_primary_by_hand_sees_nothing_older(calm: Cluster, share: Serve) -> None:
    """Though the same request read from a replica before."""
    service = share(calm.primary.url(), *WITH_VIEWS, **replicas(calm))
    wait_for(service, replica_1=True, replica_2=True)
    client = Client(service)

    assert client.ask("GET", "/probe/where?then=plain").data["standby"]
    for standby in calm.standbys:
        standby.pause_replay()
    try:
        calm.primary.rows("INSERT INTO users (name) VALUES ('seen')")
        assert client.ask("GET", "/probe/by_hand").data == {"replica": True, "primary": False}
        assert not client.ask("GET", "/probe/where?then=plain").data["standby"]
    finally:
        for standby in calm.standbys:
            standby.resume_replay()


@pytest.mark.needs("postgresql")
def test_an_error_that_is_caught_leaves_what_was_loaded(calm: Cluster, share: Serve) -> None:
    """As it does without replicas, whichever server found it."""
    calm.primary.rows("INSERT INTO users (name) VALUES ('loaded')")
    for standby in calm.standbys:
        standby.catch_up()
    service = share(calm.primary.url(), *WITH_VIEWS, **replicas(calm))
    wait_for(service, replica_1=True, replica_2=True)

    answers = [service.get("/probe/wrong_and_on") for _ in range(5)]
    assert set(statuses(answers)) == {200}, answers[0]


@pytest.mark.needs("postgresql")
def test_a_stopped_standby_costs_no_request(calm: Cluster, serve: Serve) -> None:
    """It is left out, and comes back by itself."""
    service = serve(calm.primary.url(), **replicas(calm))
    wait_for(service, replica_1=True, replica_2=True)

    with steadily(lambda _: service.get()) as answers:
        calm.standbys[0].stop(crash=True)
        wait_for(service, replica_1=False, replica_2=True)
        calm.standbys[0].start()
        wait_for(service, replica_1=True, replica_2=True)
    assert set(statuses(answers)) == {200}


@pytest.mark.needs("postgresql")
def test_a_paused_standby_is_left_out_when_it_is_too_late(calm: Cluster, serve: Serve) -> None:
    """Later than SQLALCHEMY_REPLICA_LAG by what the primary wrote; back when it has caught up."""
    service = serve(calm.primary.url(), **replicas(calm, SQLALCHEMY_REPLICA_LAG=2))
    wait_for(service, replica_1=True, replica_2=True)

    calm.standbys[0].pause_replay()
    try:
        with steadily(lambda _: service.post("Writer"), threads=1):
            wait_for(service, replica_1=False, replica_2=True)
    finally:
        calm.standbys[0].resume_replay()
    wait_for(service, replica_1=True, replica_2=True)


@pytest.mark.needs("postgresql")
def test_a_recovery_conflict_fails_no_request(calm: Cluster, serve: Serve) -> None:
    """The standby cancels reads that are in its way; they are asked of the primary."""
    for standby in calm.standbys:
        servers.standby.configure(standby, "max_standby_streaming_delay", "0")
    calm.primary.rows("INSERT INTO users (name) SELECT 'many' FROM generate_series(1, 200)")
    settings = replicas(calm, SQLALCHEMY_STATEMENT_TIMEOUT=60)
    service = serve(calm.primary.url(), *WITH_VIEWS, **settings)
    wait_for(service, replica_1=True, replica_2=True)

    def conflicts() -> int:
        question = "SELECT sum(confl_lock) AS n FROM pg_stat_database_conflicts"
        return sum(int(standby.rows(question)[0]["n"]) for standby in calm.standbys)

    with steadily(lambda _: service.get("/probe/long_read"), threads=4) as answers:
        for _ in range(40):
            calm.primary.rows("ALTER TABLE users ALTER COLUMN name TYPE varchar(50)")
            time.sleep(0.1)
            if conflicts() > 2 and len(answers) > 20:
                break
    assert conflicts() > 0, "no conflict was brought about"
    assert set(statuses(answers)) == {200}, [one for one in answers if one.status != 200][:3]


@pytest.mark.needs("postgresql")
def test_a_promoted_standby_is_read_no_more(doomed: Cluster, serve: Serve) -> None:
    """It is a primary of its own, whose positions say nothing."""
    service = serve(doomed.primary.url(), **replicas(doomed))
    wait_for(service, replica_1=True)
    with steadily(lambda _: service.get()) as answers:
        doomed.standbys[0].promote()
        wait_for(service, replica_1=False)
    assert set(statuses(answers)) == {200}
    client = Client(service)
    client.live(2)
    assert client.stale == []  # what is written now is not there


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


@pytest.mark.needs("mariadb")
def test_a_mariadb_replica_is_never_older_either(project: Project, serve: Serve) -> None:
    """By its GTID; it may be stopped, and so may its primary."""
    with replicated() as (primary, replica):
        project.migrate(primary.url("service"))
        settings: dict[str, Setting] = ONE_WORKER | {
            "SQLALCHEMY_REPLICA_URIS": replica.url("service")
        }
        service = serve(primary.url("service"), **settings)
        wait_for(service, replica_1=True)
        reads_before = replica.status("Handler_read_key")

        clients = [Client(service, by_cookie=number % 2 == 0) for number in range(8)]
        with ThreadPoolExecutor(8) as executor:
            for one in [executor.submit(client.live, 3) for client in clients]:
                one.result(120)
        assert [client.stale for client in clients] == [[]] * 8
        assert replica.status("Handler_read_key") - reads_before > 0.8 * 8 * 3 * READS

        with steadily(lambda _: service.get(), threads=4) as answers:
            replica.rows("STOP SLAVE SQL_THREAD")
            assert Client(service).ask("GET", clients[0].add()).status in (200, 404)
            replica.rows("START SLAVE SQL_THREAD")
            replica.stop(crash=True)
            wait_for(service, replica_1=False)
            replica.start()
            wait_for(service, replica_1=True)
            primary.stop(crash=True)
            wait_until(lambda: service.get("/healthz/ready").text.find("false") > 0)
        assert set(statuses(answers)) == {200}
        assert service.post("Nobody").is_clean_refusal
