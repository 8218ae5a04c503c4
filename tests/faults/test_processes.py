"""Processes fork, end and die; each has connections of its own and leaves none behind."""

from __future__ import annotations

import re
import signal
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
import servers

from .conftest import Database, Serve
from .load import load, statuses, steadily
from .service import INSIDE, Service

USED = ("--pythonpath", str(INSIDE), "views:create_used_app()")
ABRUPT = re.compile(
    r"unexpected EOF|Connection reset by peer|could not receive data|open transaction"
    r"|Aborted connection|Got an error reading communication packets"
)


class Log:
    """What a database server logs from now on."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.start = len(database.server.log())

    def abrupt(self) -> list[str]:
        """Give the lines about clients that left without a goodbye."""
        new = self.database.server.log()[self.start :]
        return [line for line in new.splitlines() if ABRUPT.search(line)]


def backends_by_process(service: Service, requests: int) -> dict[int, set[int]]:
    """Ask many things at once, check each answer, and tell which process used which backend."""
    answers = load(lambda number: service.get(f"/probe/echo?value={number}"), requests)
    found = defaultdict(set)
    for number, answer in enumerate(answers):
        assert answer.status == 200, answer
        assert answer.data["value"] == number
        found[answer.data["process"]].add(answer.data["backend"])
    return found


def children(process: psutil.Process) -> list[psutil.Process]:
    """Give the child processes, none if it has just ended."""
    try:
        return process.children()
    except psutil.NoSuchProcess:
        return []


def asleep(database: Database) -> int:
    """Count the clients whose statement sleeps right now."""
    rows = [{name.lower(): value for name, value in row.items()} for row in database.connections()]
    running = [row.get("query") or row.get("info") for row in rows if row["state"] != "idle"]
    return sum("sleep(" in str(statement).lower() for statement in running)


@pytest.mark.parametrize(
    "options", [pytest.param((), id="plain", marks=pytest.mark.repeat), ("--preload",)]
)
def test_workers_do_not_use_what_the_process_before_them_used(
    database: Database, serve: Serve, options: tuple[str, ...]
) -> None:
    """The application uses its pool before it is handed to gunicorn, and so before any fork."""
    log = Log(database)
    service = serve(database.url(), *options, *USED)
    servers.wait_until(lambda: len(database.connections()) >= 8)

    found = backends_by_process(service, 400)
    found_later = backends_by_process(service, 400)
    service.stop()

    assert len(found) == 2
    first, second = found.values()
    assert not first & second
    assert set(found_later) == set(found)
    servers.wait_until(lambda: not database.connections())
    assert log.abrupt() == []


def test_sigterm_lets_requests_end_and_closes_every_connection(
    database: Database, serve: Serve
) -> None:
    """Nothing abrupt in the server's log, nothing left on the server."""
    log = Log(database)
    service = serve(
        database.url(),
        *USED,
        WEB_THREADS=8,
        SQLALCHEMY_POOL_SIZE=8,
        SQLALCHEMY_STATEMENT_TIMEOUT=60,
    )
    sleep = f"/probe/sleep?seconds={servers.paced(1.5):.1f}"

    with ThreadPoolExecutor(6) as executor, steadily(lambda _: service.get(), 2):
        slow = [executor.submit(service.get, sleep) for _ in range(6)]
        servers.wait_until(lambda: asleep(database) == 6)
        service.stop()
        answers = [one.result() for one in slow]

    assert statuses(answers) == {200: 6}
    servers.wait_until(lambda: not database.connections())
    assert log.abrupt() == []
    assert "Traceback" not in service.log()


def test_a_master_that_is_upgraded_counts_on_when_the_old_one_has_gone(
    any_database: Database, serve: Serve
) -> None:
    """After a reload (SIGHUP), SIGUSR2 hands on the environment that the settings changed."""
    service = serve(any_database.url())
    assert service.process is not None
    old = psutil.Process(service.process.pid)
    first = set(service.workers())
    old.send_signal(signal.SIGHUP)
    servers.wait_until(lambda: len(set(service.workers()) - first) == 2)
    servers.wait_until(lambda: len(any_database.connections()) == 8)
    old.send_signal(signal.SIGUSR2)
    masters: list[psutil.Process] = []

    def taken_over() -> bool:
        masters[:] = [child for child in old.children() if len(children(child)) == 2]
        return len(masters) == 1 and len(any_database.connections()) == 16

    servers.wait_until(taken_over)
    new = masters[0]
    try:
        service.stop()
        servers.wait_until(lambda: len(any_database.connections()) == 8)

        assert statuses(load(lambda _: service.get(), 40)) == {200: 40}
        servers.wait_until(lambda: service.metric("db_client_connection_count") == 8)
        waits = "db_client_connection_wait_time_seconds_count"
        servers.wait_until(lambda: service.metric(waits) >= 48)
    finally:
        new.terminate()
        servers.wait_until(lambda: not any_database.connections())
