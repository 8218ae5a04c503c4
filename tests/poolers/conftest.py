"""What these tests share: the project, and its service behind the PgBouncer that it configures."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count, pairwise
from pathlib import Path

import pytest
import servers
from faults.load import steadily
from faults.project import Project, Setting, install
from faults.service import Answer, Service
from servers.process import running

CLIENTS, WORKERS = 1000, 4
# 1,000 pooled connections, which 64 threads use in turn
MANY: dict[str, Setting] = {
    "WEB_CONCURRENCY": WORKERS,
    "WEB_THREADS": 16,
    "SQLALCHEMY_POOL_SIZE": CLIENTS // WORKERS,
    "SQLALCHEMY_MAX_OVERFLOW": 0,
    "SQLALCHEMY_EXTERNAL_POOLER": "pgbouncer",
}
ENOUGH = 300  # answers, before a fault and after it


@dataclass
class Load:
    """What was asked while a block ran, and when it was answered."""

    service: Service
    number: int
    answers: list[tuple[float, Answer]] = field(default_factory=list)

    def ask(self, number: int) -> Answer:
        """Write twice, read once, and so on."""
        name = f"user {self.number} {number}"
        answer = self.service.post(name) if number % 3 else self.service.get("/users?limit=5")
        self.answers.append((time.monotonic(), answer))
        return answer

    def spoiled_until(self, since: float) -> float:
        """Give the seconds from a fault to the last answer that it spoiled."""
        refused = [at for at, answer in self.answers if answer.status not in (200, 201)]
        return max([since, *refused]) - since

    def longest_pause(self) -> float:
        """Give the longest time in seconds in which nothing was answered."""
        times = sorted(at for at, _ in self.answers)
        return max(after - before for before, after in pairwise(times))

    def check(self, server: servers.PostgreSQL, database: str) -> Counter[int]:
        """Count the statuses; fail if one is wrong, or a row is lost, doubled or unasked for."""
        answers = [answer for _, answer in self.answers]
        refused = [answer for answer in answers if answer.status not in (200, 201)]
        assert [answer for answer in refused if not answer.is_honest] == []
        question = "SELECT name FROM users WHERE name LIKE %s"
        rows = server.rows(question, (f"user {self.number} %",), database)
        found = Counter(row["name"] for row in rows)
        created = {answer.data["name"] for answer in answers if answer.status == 201}
        assert created - found.keys() == set()
        assert max(found.values()) == 1
        assert len(found.keys() - created) <= sum(answer.is_in_doubt for answer in refused)
        return Counter(answer.status for answer in answers)


@dataclass
class Stack:
    """A service, its PgBouncer, and a primary with a standby behind that."""

    service: Service
    pooler: servers.PgBouncer
    cluster: servers.Cluster
    primary: servers.PostgreSQL
    database: str
    numbers: Iterator[int] = field(default_factory=count)

    @property
    def clients(self) -> int:
        """How many connections the service has at PgBouncer."""
        return sum(row["database"] == self.database for row in self.pooler.show("CLIENTS"))

    @contextmanager
    def load(self) -> Iterator[Load]:
        """Ask from 24 threads while the block runs, and until all is well again."""
        load = Load(self.service, next(self.numbers))
        with steadily(load.ask, threads=24) as answers:
            servers.wait_until(lambda: len(answers) > ENOUGH, 60)
            yield load
            servers.wait_until(
                lambda: {answer.status for answer in answers[-24:]} <= {200, 201}, 60
            )
            before = len(answers)
            servers.wait_until(lambda: len(answers) > before + ENOUGH, 60)


@pytest.fixture(scope="session")
def project(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Give the project as it is baked for PostgreSQL."""
    url = "postgresql://app@database/app"
    return install(tmp_path_factory.mktemp("poolers"), template, database_url=url)


@pytest.fixture(scope="module")
def stack(project: Project) -> Iterator[Stack]:
    """Give everything, started."""
    with ExitStack() as parts:
        cluster = parts.enter_context(servers.cluster(1, "s1", same_port=True))
        database = cluster.primary.create_database()
        url = cluster.url(database)
        project.migrate(url)
        shipped = project.run(url, "flask", "pool", "plan", "--pgbouncer", "--instances=1", **MANY)
        pooler = parts.enter_context(servers.pgbouncer(cluster.primary, shipped=shipped))
        service = Service(project, pooler.url(database), **MANY)
        parts.enter_context(running(service))
        found = Stack(service, pooler, cluster, cluster.primary, database)
        servers.wait_until(lambda: found.clients == CLIENTS, 120)
        yield found
