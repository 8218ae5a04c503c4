"""A service under load while its database fails over, and what its clients saw of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby, pairwise

import psycopg
import pymysql
import servers
from faults.load import every, steadily
from faults.service import Answer, Service

SOON = 2 + 4  # seconds: the promised ones, and what a busy test machine may add
PACE = 0.02  # seconds between two requests of a client: the servers need some of the machine

Node = servers.PostgreSQL | servers.MariaDB


@dataclass(frozen=True)
class Sent:
    """A request and its answer; the name that it wrote, if it did."""

    name: str | None
    began: float
    answer: Answer

    @property
    def ended(self) -> float:
        """When the answer was there."""
        return self.began + self.answer.seconds

    @property
    def is_done(self) -> bool:
        """Tell whether it did what it was asked for."""
        return self.answer.status == (200 if self.name is None else 201)

    @property
    def is_honest(self) -> bool:
        """Tell whether it was refused cleanly, or a write of which nobody can know."""
        return self.answer.is_clean_refusal or bool(self.name and self.answer.is_in_doubt)


@dataclass(frozen=True)
class Outage:
    """All requests around an event, and what the service's clients may expect of it."""

    event: str
    database: str
    sent: list[Sent]
    began: float  # when a server was disturbed
    accepted: float  # when one took a write on a direct connection
    soon: float  # when all must be served again
    ready: list[int]  # the answers of the readiness check, one after the other
    log: str  # the service's own

    @property
    def outage(self) -> float:
        """The longest time without an acknowledged write."""
        return max(after - before for before, after in pairwise(self._written()))

    @property
    def resumed(self) -> float:
        """When the first write was acknowledged after the cluster took one."""
        return min(ended for ended in self._written() if ended > self.accepted)

    def row(self) -> str:
        """Say in a line of a table what happened."""
        cells = [
            f"{self.outage:.1f} s",
            f"{self.accepted - self.began:.1f} s",
            f"{self.resumed - self.accepted:.1f} s",
            f"{max(each.answer.seconds for each in self.sent):.1f} s",
            *(self._refused(writes=writes) for writes in (False, True)),
            str(sum(each.answer.is_in_doubt for each in self.sent)),
        ]
        return f"| {self.event} | {' | '.join(cells)} |"

    def check(self, node: Node, *, steady: bool = True) -> None:
        """Hold it against the promises, and against what a server of the cluster has.

        Steady is a cluster whose other servers did not themselves come, go and come back.
        """
        rows = node.rows("SELECT name FROM users", database=self.database)
        found = Counter(row["name"] for row in rows if row["name"].startswith(f"{self.event} "))
        created = {each.name for each in self.sent if each.name and each.answer.status == 201}
        doubtful = {each.name for each in self.sent if each.answer.is_in_doubt}
        failed = [each for each in self.sent if not each.is_done]

        wrong = [each.answer for each in failed if not each.is_honest]
        trace = self.log[self.log.find("Traceback") :][:4000] if "Traceback" in self.log else ""
        assert not wrong, f"{wrong[:3]}\n{trace}"
        assert created - found.keys() == set(), "acknowledged and lost"
        assert found.keys() - created <= doubtful, "refused and done"
        assert set(found.values()) == {1}, "done twice"
        assert self.resumed < self.soon, self.row()
        assert [each for each in failed if each.began > self.soon] == [], self.row()
        assert max(each.began for each in self.sent) > self.soon
        said = [status for status, _ in groupby(self.ready)]
        assert said[-1] == 200, said
        assert not steady or said in ([200], [200, 503, 200]), said

    def _written(self) -> list[float]:
        return sorted(each.ended for each in self.sent if each.name and each.is_done)

    def _refused(self, *, writes: bool) -> str:
        mine = [each for each in self.sent if bool(each.name) == writes]
        return f"{sum(not each.is_done for each in mine)} of {len(mine)}"


HEADER = """\
| event | no writes for | cluster | then service | slowest | GETs refused | POSTs | in doubt |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"""


@dataclass(frozen=True)
class Clients:
    """Those who read and write through a service whose database is a cluster's."""

    service: Service
    database: str
    name: str
    report: list[str]

    def watch(
        self, event: str, disturb: Callable[[], object], *nodes: Node, limit: float = 0
    ) -> Outage:
        """Disturb a server under load; wait until one of `nodes` takes writes, and go on.

        What was sent before may take `limit` seconds.
        """
        event = f"{self.name}: {event}"
        sent: list[Sent] = []

        def ask(number: int) -> Answer:
            name = f"{event} {number}" if number % 2 else None
            began = time.monotonic()
            answer = self.service.post(name) if name else self.service.get()
            sent.append(Sent(name, began, answer))
            time.sleep(PACE)
            return answer

        def ask_whether_ready() -> int:
            return self.service.get("/healthz/ready").status

        with every(0.2, ask_whether_ready) as ready, steadily(ask):
            servers.wait_until(lambda: sum(each.is_done for each in list(sent)) > 100)
            began = time.monotonic()
            disturb()
            servers.wait_until(lambda: any(map(self._accepts, nodes)), 60)
            accepted = time.monotonic()
            soon = max(accepted, began + limit) + SOON
            time.sleep(soon + 1 - time.monotonic())
        log = self.service.log()
        outage = Outage(event, self.database, sent, began, accepted, soon, ready, log)
        self.report.append(outage.row())
        return outage

    def _accepts(self, node: Node) -> bool:
        """Tell whether it takes a write now, on a direct connection."""
        try:
            node.rows("INSERT INTO probe VALUES (1)", database=self.database)
        except (psycopg.Error, pymysql.MySQLError):
            return False
        return True
