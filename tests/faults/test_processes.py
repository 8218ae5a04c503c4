"""Processes fork, end and die; each has connections of its own and leaves none behind."""

from __future__ import annotations

import json
import re
import signal
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psutil
import pytest
import servers
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from .conftest import Database, Serve
from .load import load, statuses, steadily
from .project import Project
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


def test_a_forked_child_and_its_parent_do_not_meet(database: Database, project: Project) -> None:
    """multiprocessing forks from a process whose pool is in use: each gets its own rows."""
    log = Log(database)

    said = project.run(database.url(), "python", str(INSIDE / "forks.py"))
    report = json.loads(said.splitlines()[-1])

    assert report["wrong"] == 0
    assert report["right"] == 5 * 300
    assert report["shared"] == []
    assert report["parent kept"] is True
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


def test_the_service_goes_on_without_a_killed_worker(any_database: Database, serve: Serve) -> None:
    """SIGKILL of a worker costs its own requests; a new one comes, and the counts are right."""
    service = serve(any_database.url())
    servers.wait_until(lambda: len(any_database.connections()) == 8)
    victim = service.workers()[0]

    victim.send_signal(signal.SIGKILL)
    servers.wait_until(lambda: victim.pid not in {worker.pid for worker in service.workers()})
    servers.wait_until(lambda: len(service.workers()) == 2)
    servers.wait_until(lambda: len(any_database.connections()) == 8)
    answers = load(lambda _: service.get(), 200)

    assert statuses(answers) == {200: 200}
    assert len(any_database.connections()) == 8
    servers.wait_until(lambda: service.metric("db_client_connection_count") == 8)
    assert service.metric("db_client_connection_max") == 8


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


def test_each_worker_opens_its_pool_before_the_first_request(
    any_database: Database, serve: Serve
) -> None:
    """pool_size connections for each, and the first requests open none."""
    service = serve(any_database.url(), WEB_CONCURRENCY=2, SQLALCHEMY_POOL_SIZE=3)
    servers.wait_until(lambda: len(any_database.connections()) == 6)
    before = any_database.backends()

    assert statuses(load(lambda _: service.get(), 40)) == {200: 40}

    assert any_database.backends() == before


def test_deployments_that_migrate_at_once_take_turns(database: Database, project: Project) -> None:
    """Three that all found an empty schema end well, and the schema is there once."""
    empty = Database(database.server, database.server.create_database())
    version = empty.name if isinstance(database.server, servers.MariaDB) else "public"
    empty.rows(f"CREATE TABLE {version}.alembic_version (version_num varchar(32) PRIMARY KEY)")

    with ThreadPoolExecutor(3) as executor:
        # nobody can tell which version this is, until all three want to know
        with locked(empty, f"{version}.alembic_version"):
            migrating = [executor.submit(project.migrate, empty.url()) for _ in range(3)]
            # the table's, each one's for its turn, and the one that migrates
            servers.wait_until(lambda: len(empty.connections()) == 5)
        for one in migrating:
            one.result()

    assert len(empty.rows("SELECT version_num FROM alembic_version")) == 1
    assert empty.names() == []


@contextmanager
def locked(database: Database, table: str) -> Iterator[None]:
    """Keep everybody from reading a table."""
    engine = create_engine(database.url(), poolclass=NullPool)
    maria = isinstance(database.server, servers.MariaDB)
    with engine.connect() as connection:
        lock = f"LOCK TABLES {table} WRITE" if maria else f"LOCK TABLE {table}"
        connection.exec_driver_sql(lock)
        yield
        connection.exec_driver_sql("UNLOCK TABLES" if maria else "SELECT 1")
