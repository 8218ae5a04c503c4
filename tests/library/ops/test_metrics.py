"""What Prometheus sees of the pool."""

from __future__ import annotations

import gc
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from subprocess import PIPE, Popen
from threading import Event, Thread
from time import monotonic, sleep
from typing import Any

import pytest
from bake import FOLDER, ROOT
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client import REGISTRY
from prometheus_client.multiprocess import MultiProcessCollector
from sqlalchemy import event, text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

import flask_pool as pool
from flask_pool import FairQueuePool
from library.conftest import Make, db

OPERATOR = {"Authorization": "Bearer operator"}
OPS = ROOT / FOLDER / "ops"
CONNECTION = "db_client_connection_"
NAMES = {
    "count", "max", "idle_max", "pending_requests", "timeouts_total", "leaks_total",
    "replaced_total", "create_time_seconds_bucket", "wait_time_seconds_bucket",
    "use_time_seconds_bucket",
}  # fmt: skip
LONG = 30  # seconds: a test that waits for as long has failed
REASONS = {"exhausted", "unavailable", "conflict", "timeout", "read_only", "in_doubt"}

merge: Any = MultiProcessCollector.merge
metrics: Any = import_module(f"{pool.__name__}.ops.metrics")


@pytest.fixture
def metered(app: Flask) -> Iterator[Engine]:
    """An engine whose pool has a name, and so metrics, of its own."""
    numbers = {"pool_size": 2, "max_overflow": 1, "wait_timeout": 0.05}
    engine = app.extensions["pool"].another("default", poolclass=FairQueuePool, **numbers)
    metrics.watch(engine.pool, "metered")
    yield engine
    engine.dispose()


def value(name: str, **labels: str) -> float:
    metrics.catch_up()
    return REGISTRY.get_sample_value(CONNECTION + name, {"pool_name": "metered", **labels}) or 0.0


def counts() -> tuple[float, float]:
    return value("count", state="used"), value("count", state="idle")


def exported(client: FlaskClient) -> set[str]:
    text = client.get("/metrics", headers=OPERATOR).text
    return set(re.findall(r"^(db_client_\w+)[{ ]", text, re.MULTILINE))


def test_the_names_are_opentelemetrys(client: FlaskClient) -> None:
    assert {CONNECTION + name for name in NAMES} <= exported(client)


@pytest.mark.parametrize("file", ["alerts.yml", "alerts_test.yml", "dashboard.json"])
def test_alerts_and_dashboard_ask_for_what_is_exported(client: FlaskClient, file: str) -> None:
    asked = set(re.findall(r"\bdb_client_\w+", (OPS / file).read_text(encoding="utf-8")))

    assert len(asked) > 5
    assert asked <= exported(client)


def test_every_reason_is_there_before_it_is_counted(client: FlaskClient) -> None:
    text = client.get("/metrics", headers=OPERATOR).text

    assert set(re.findall(r'request_unavailable_total{reason="(\w+)"}', text)) == REASONS


def test_a_shared_folder_that_is_gone_leaves_a_process_its_own_metrics(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "gone"))

    assert f"{CONNECTION}count" in exported(client)
    assert not client.get("/pool.json", headers=OPERATOR).get_json()["all_workers"]


@pytest.mark.skipif(sys.platform == "win32", reason="no server with several workers")
def test_a_shared_folder_that_is_busy_for_too_long_is_503(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shared = import_module(f"{pool.__name__}.ops.shared")
    monkeypatch.setattr(shared, "PATIENCE", 0.01)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))

    with shared._locked(tmp_path, exclusive=True):
        for path in ("/metrics", "/pool.json"):
            assert client.get(path, headers=OPERATOR).status_code == 503
    assert client.get("/metrics", headers=OPERATOR).status_code == 200


def test_a_refused_request_is_counted_by_its_reason(make_app: Make) -> None:
    app = make_app(SQLALCHEMY_POOL_TIMEOUT=0.01)
    held = [app.extensions["pool"].engines["default"].connect() for _ in range(3)]

    @app.get("/one")
    def one() -> str:
        return str(db.session.scalar(text("SELECT 1")))

    def refused() -> float:
        metrics.catch_up()
        labels = {"reason": "exhausted"}
        return REGISTRY.get_sample_value("db_client_request_unavailable_total", labels) or 0.0

    before = refused()
    assert app.test_client().get("/one").status_code == 503
    assert refused() == before + 1
    for connection in held:
        connection.close()


def use(engine: Engine) -> None:
    with engine.connect():
        assert counts()[0] == 1


def invalidate(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.invalidate()


def detach(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.detach()


def forget(engine: Engine) -> None:
    engine.connect()
    gc.collect(0)


def dispose(engine: Engine) -> None:
    with engine.connect():
        engine.dispose()
        with engine.connect():
            assert counts() == (2, 0)
        assert counts() == (1, 1)


def overflow(engine: Engine) -> None:
    with engine.connect(), engine.connect(), engine.connect():
        assert counts() == (3, 0)


def fail(engine: Engine) -> None:
    with pytest.raises(ZeroDivisionError), engine.connect():
        raise ZeroDivisionError


@pytest.mark.parametrize("ending", [use, invalidate, detach, forget, dispose, overflow, fail])
def test_counts_are_right_however_a_checkout_ends(
    metered: Engine, ending: Callable[[Engine], None]
) -> None:
    opened: set[int] = set()
    event.listen(metered, "connect", lambda connection, _: opened.add(id(connection)))
    for gone in ("close", "detach"):
        event.listen(metered, gone, lambda connection, _: opened.discard(id(connection)))

    for _ in range(2):
        ending(metered)
        assert counts() == (0, len(opened))

    assert (value("max"), value("idle_max")) == (3, 2)


def test_a_wait_in_vain_is_a_timeout(metered: Engine) -> None:
    before = value("timeouts_total")
    waits = value("wait_time_seconds_count")

    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(metered.connect())
        with pytest.raises(PoolTimeoutError):
            metered.connect()

    assert value("timeouts_total") == before + 1
    assert value("wait_time_seconds_count") == waits + 3
    assert value("pending_requests") == 0


def test_times_are_measured_from_50_microseconds_up(metered: Engine) -> None:
    before = value("wait_time_seconds_count"), value("use_time_seconds_count")
    for _ in range(20):
        use(metered)

    assert metrics.BUCKETS[0] == 0.00005
    assert all(high / low <= 3 for low, high in pairwise(metrics.BUCKETS))
    assert value("wait_time_seconds_count") == before[0] + 20
    assert value("use_time_seconds_count") == before[1] + 20
    assert value("wait_time_seconds_bucket", le="0.001") >= 15
    assert value("create_time_seconds_count") >= 1


def test_threads_leave_the_right_numbers(metered: Engine) -> None:
    def work() -> None:
        for _ in range(50):
            with metered.connect():
                sleep(0)

    before = value("use_time_seconds_count")
    threads = [Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert value("use_time_seconds_count") == before + 150
    assert counts()[0] == 0
    assert counts()[1] == metered.pool.open_idle()  # type: ignore[attr-defined]


def test_what_waits_to_be_counted_is_bounded() -> None:
    labels = {"pool_name": "bounded"}
    count = metrics.TIMEOUTS.labels("bounded").inc

    for _ in range(metrics.MANY):
        metrics.record((count, 1))

    assert REGISTRY.get_sample_value(f"{CONNECTION}timeouts_total", labels)


WORKER = """
import sys
from importlib import import_module
metrics = import_module(sys.argv[1])
for _ in sys.stdin:
    metrics.record((metrics.TIMEOUTS.labels("worker").inc, 1))
metrics.record((metrics.TIMEOUTS.labels("worker").inc, 1))
"""


def test_other_processes_see_each_count_soon_and_at_the_end_all(tmp_path: Path) -> None:
    def seen() -> Any:
        files = [file for file in tmp_path.glob("counter_*") if file.stat().st_size]
        shared = merge(map(str, files))
        samples = (sample for metric in shared for sample in metric.samples)
        return sum(sample.value for sample in samples if sample.name.endswith("timeouts_total"))

    environ = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    command = [sys.executable, "-c", WORKER, metrics.__name__]
    with Popen(command, stdin=PIPE, text=True, env=environ) as worker:
        assert worker.stdin is not None
        for number in (1, 2):  # the second after nothing has happened for a while
            worker.stdin.write("\n")
            worker.stdin.flush()
            until = monotonic() + LONG
            while seen() < number:
                assert monotonic() < until
                sleep(0.01)
            sleep(3 * metrics.SOON)
        worker.stdin.close()

    assert (worker.returncode, seen()) == (0, 3)


class Slow(float):
    """A number that does something while it is being added."""

    action: Callable[[], object]

    def __radd__(self, other: float) -> float:
        self.action()
        return other + float(self)


def add(amount: float) -> None:
    metrics.record((metrics.TIMEOUTS.labels("slow").inc, amount))


def count(amount: float) -> None:
    add(amount)
    metrics.catch_up()


def added() -> float:
    metrics.catch_up()
    return REGISTRY.get_sample_value(f"{CONNECTION}timeouts_total", {"pool_name": "slow"}) or 0.0


def test_the_garbage_collector_may_return_a_connection_while_one_is_counted() -> None:
    before, amount = added(), Slow(0.5)

    def return_connections() -> None:
        for _ in range(2 * metrics.MANY):
            add(1.0)

    amount.action = return_connections

    thread = Thread(target=count, args=(amount,), daemon=True)
    thread.start()
    thread.join(5)

    assert not thread.is_alive()
    assert added() == before + 0.5 + 2 * metrics.MANY


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Python's, of forks beside threads
def test_a_child_can_count_even_if_its_parent_was_counting() -> None:
    def linger() -> None:
        counting.set()
        sleep(0.05)

    before, counting, amount = added(), Event(), Slow(0.5)
    amount.action = linger
    thread = Thread(target=count, args=(amount,))
    thread.start()
    counting.wait()

    child = os.fork()
    if child == 0:
        signal.alarm(5)
        add(1.0)
        os._exit(added() != before + 1.5)
    thread.join()

    assert os.waitpid(child, 0)[1] == 0
