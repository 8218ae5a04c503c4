"""Mixed load with random faults, for as long as --soak says; then everything is counted."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import psutil
import pytest
import servers

from .conftest import Database, Serve
from .load import load, statuses, steadily
from .project import Setting
from .service import WITH_VIEWS, Answer, Service

OpenProxy = Callable[[int], servers.Proxy]

SETTINGS: dict[str, Setting] = {
    "SQLALCHEMY_MAX_OVERFLOW": 2,
    "SQLALCHEMY_POOL_TIMEOUT": 3,
    "SQLALCHEMY_POOL_RECYCLE": 20,
    "SQLALCHEMY_CONNECT_TIMEOUT": 1,
    "SQLALCHEMY_STATEMENT_TIMEOUT": 2,
    "WEB_THREADS": 8,
}
LONGEST = 3 + 1 + 2 + 2  # pool, connect and statement timeout, and some for the machine


@dataclass(frozen=True)
class Usage:
    """What the workers hold, when nothing is going on."""

    descriptors: int
    memory: int
    connections: int

    @classmethod
    def of(cls, service: Service, database: Database, port: int) -> Usage:
        """Let the service come to rest, then measure."""
        load(lambda _: service.get(), 200)
        servers.wait_until(lambda: service.metric("db_client_connection_count", state="used") == 0)
        deadline = time.monotonic() + 30
        while (shown := counts(service, database))[0] != shown[1]:
            assert time.monotonic() < deadline, (*shown, sockets(service, port))
            time.sleep(0.1)
        workers = service.workers()
        return cls(
            sum(worker.num_fds() for worker in workers),
            memory(service),
            len(database.connections()),
        )


def counts(service: Service, database: Database) -> tuple[int, int]:
    """Give the number of connections that the server has and that the service counts."""
    return len(database.connections()), int(service.metric("db_client_connection_count"))


def memory(service: Service) -> int:
    """Give how many bytes the workers have in memory."""
    return sum(worker.memory_info().rss for worker in service.workers())


def sockets(service: Service, port: int) -> Counter[str]:
    """Give the states of the workers' connections to a port."""
    return Counter(
        connection.status
        for worker in service.workers()
        for connection in worker.net_connections("tcp")
        if connection.raddr and connection.raddr.port == port
    )


def ask(service: Service, number: int) -> Answer:
    """Send one of the requests that the load is made of."""
    kind = number % 10
    if kind < 5:
        return service.get(random.choice(["/users?limit=20", "/users?limit=20&after=5"]))
    if kind < 8:
        return service.post(f"user {number}")
    return service.get(random.choice(["/healthz/ready", "/probe/sleep?seconds=0.05"]))


def freeze(server: servers.PostgreSQL | servers.MariaDB) -> None:
    """Stop a server's processes for longer than the timeouts are."""
    with server.paused():
        time.sleep(4)


def silence(between: servers.Proxy) -> None:
    """Swallow everything for longer than the timeouts are."""
    between.silence()
    time.sleep(4)
    between.speak()


@pytest.mark.soak
def test_everything_is_flat_after_random_faults(
    database: Database, serve: Serve, proxy: OpenProxy, soak_seconds: float
) -> None:
    """Nothing leaks, nothing stays out, no answer is wrong, and no write is lost or doubled."""
    database.endure()
    between = proxy(database.server.port)
    service = serve(database.url(between.port), *WITH_VIEWS, **SETTINGS)
    faults: dict[str, Callable[[], object]] = {
        "kill": database.kill,
        "drop": between.drop,
        "freeze": lambda: freeze(database.server),
        "silence": lambda: silence(between),
        "restart": database.server.restart,
        "delay": lambda: setattr(between, "delay_to_client", random.choice([0.0, 0.02])),
    }
    load(lambda number: ask(service, number), 1000)  # what caches hold by now, they hold
    before = Usage.of(service, database, between.port)
    workers = {worker.pid for worker in service.workers()}
    done: Counter[str] = Counter()
    levels: list[int] = []  # MiB of both workers, after each fault
    end = time.monotonic() + soak_seconds

    with steadily(lambda number: ask(service, number + 1000), 12) as answers:
        while time.monotonic() < end:
            fault = random.choice([*faults, "kill", "kill"])
            faults[fault]()
            done[fault] += 1
            levels.append(memory(service) // 2**20)
            time.sleep(random.uniform(0.2, 3))
    between.delay_to_client = 0
    time.sleep(2)
    after = Usage.of(service, database, between.port)

    print(f"\n{len(answers)} answers {statuses(answers)}, faults {dict(done)}, {before} -> {after}")
    print(f"MiB, at ten moments: {levels[:: max(1, len(levels) // 10)]}")
    refused = [answer for answer in answers if answer.status not in (200, 201)]
    assert [answer for answer in refused if not answer.is_honest] == []
    created = Counter(a.data["name"] for a in answers if a.status == 201)
    found = Counter(name for name in database.names())
    assert not created - found
    assert max(found.values()) == 1
    assert max(answer.seconds for answer in answers) < servers.paced(LONGEST)
    assert {worker.pid for worker in service.workers()} == workers
    assert after.descriptors <= before.descriptors + 8
    # malloc keeps what many threads needed at once; what leaks goes on growing
    assert levels[-1] <= levels[len(levels) // 2] * 1.1 + 10
    assert after.memory <= before.memory * 1.75
    assert after.connections <= 8
    assert service.metric("db_client_connection_pending_requests") == 0
    assert psutil.Process(service.workers()[0].pid).num_threads() <= 8 + 4
