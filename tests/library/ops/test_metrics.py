"""What Prometheus sees of the pool."""

from __future__ import annotations

import gc
import json
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

import flask_pool as pool
import pytest
from bake import FOLDER, ROOT
from flask import Flask
from flask.testing import FlaskClient
from flask_pool import FairQueuePool
from prometheus_client import REGISTRY
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from library.conftest import LONG, Make, ask, detach, fail, forget, invalidate

OPERATOR = {"Authorization": "Bearer operator"}
OPS = ROOT / FOLDER / "ops"
CONNECTION = "db_client_connection_"
NAMES = {
    "count", "max", "idle_max", "pending_requests", "timeouts_total", "leaks_total",
    "replaced_total", "held_seconds_total", "held_long_total", "create_time_seconds_bucket",
    "wait_time_seconds_bucket", "use_time_seconds_bucket",
}  # fmt: skip
REASONS = {"overloaded", "exhausted", "unavailable", "conflict", "timeout", "read_only", "in_doubt"}

counting: Any = import_module(f"{pool.__name__}.ops.counting")
data: Any = import_module(f"{pool.__name__}.ops.data")
metrics: Any = import_module(f"{pool.__name__}.ops.metrics")
shared: Any = import_module(f"{pool.__name__}.ops.shared")
data.register()


@pytest.fixture
def metered(app: Flask) -> Iterator[Engine]:
    """An engine whose pool has a name, and so metrics, of its own."""
    numbers = {"pool_size": 2, "max_overflow": 1, "wait_timeout": 0.05}
    engine = app.extensions["pool"].another("default", FairQueuePool, **numbers)
    metrics.watch(engine.pool, "metered")
    yield engine
    engine.dispose()


def value(name: str, **labels: str) -> float:
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
    monkeypatch.setattr(shared, "_folder", tmp_path / "gone")

    assert f"{CONNECTION}count" in exported(client)
    assert not client.get("/pool.json", headers=OPERATOR).get_json()["all_workers"]


@pytest.mark.skipif(sys.platform == "win32", reason="no server with several workers")
def test_a_shared_folder_that_is_busy_for_too_long_is_503(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(shared, "PATIENCE", 0.01)
    monkeypatch.setattr(shared, "_folder", tmp_path)

    with shared._locked(tmp_path, exclusive=True):
        for path in ("/metrics", "/pool.json"):
            assert client.get(path, headers=OPERATOR).status_code == 503
    assert client.get("/metrics", headers=OPERATOR).status_code == 200


def test_what_an_application_counts_itself_is_told_for_all_its_workers(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    key = mmap_key("orders", "orders_total", [], [], "Orders.")
    for worker, amount in ((1, 3), (2, 4)):
        values: Any = MmapedDict(str(tmp_path / f"counter_{worker}.db"))  # type: ignore[no-untyped-call]
        values.write_value(key, amount, 0)
        values.close()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))

    text = client.get("/metrics", headers=OPERATOR).text

    assert "\norders_total 7.0\n" in text
    assert f"\n{CONNECTION}count{{" in text


def refused() -> float:
    labels = {"reason": "exhausted"}
    return REGISTRY.get_sample_value("db_client_request_unavailable_total", labels) or 0.0


def test_a_refused_request_is_counted_by_its_reason(make_app: Make) -> None:
    app = make_app(SQLALCHEMY_POOL_TIMEOUT=0.01)
    held = [app.extensions["pool"].engines["default"].connect() for _ in range(3)]

    app.add_url_rule("/one", view_func=ask)
    before = refused()
    assert app.test_client().get("/one").status_code == 503
    assert refused() == before + 1
    for connection in held:
        connection.close()


def use(engine: Engine) -> None:
    with engine.connect():
        assert counts()[0] == 1


def dispose(engine: Engine) -> None:
    with engine.connect():
        engine.dispose()
        with engine.connect():
            assert counts() == (2, 0)
        assert counts() == (1, 1)


def overflow(engine: Engine) -> None:
    with engine.connect(), engine.connect(), engine.connect():
        assert counts() == (3, 0)


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


def test_a_wait_in_vain_is_a_timeout_and_counted_where_it_is_raised(metered: Engine) -> None:
    before, were_refused = value("timeouts_total"), refused()
    waits = value("wait_time_seconds_count")

    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(metered.connect())
        with pytest.raises(PoolTimeoutError):
            metered.connect()

    assert value("timeouts_total") == before + 1
    assert refused() == were_refused + 1
    assert value("wait_time_seconds_count") == waits + 3
    assert value("pending_requests") == 0


def test_times_are_measured_from_50_microseconds_up(metered: Engine) -> None:
    before = value("wait_time_seconds_count"), value("use_time_seconds_count")
    for _ in range(20):
        use(metered)

    assert counting.BUCKETS[0] == 0.00005
    assert all(high / low <= 3 for low, high in pairwise(counting.BUCKETS))
    assert value("wait_time_seconds_count") == before[0] + 20
    assert value("use_time_seconds_count") == before[1] + 20
    assert value("wait_time_seconds_bucket", le="0.001") >= 15
    labels = {"pool_name": "default"}
    opened = REGISTRY.get_sample_value(f"{CONNECTION}create_time_seconds_count", labels)
    assert (opened or 0) >= 1


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


def test_counting_leaves_nothing_for_the_garbage_collector(metered: Engine) -> None:
    def count() -> None:
        for observer in observers:
            observer.checked_out(metered.pool, 0.001)
            observer.released(metered.pool, "/items", 0.001)
            observer.checked_in(metered.pool, 0.001)

    observers = metered.pool.observers  # type: ignore[attr-defined]
    count()
    gc.collect()
    gc.disable()
    try:
        before = gc.get_count()[0]
        for _ in range(1000):
            count()
        assert gc.get_count()[0] - before < 50
    finally:
        gc.enable()


def test_the_time_that_a_route_holds_connections_is_counted(client: FlaskClient) -> None:
    def held(route: str) -> float:
        labels = {"pool_name": "default", "route": route}
        return REGISTRY.get_sample_value(f"{CONNECTION}held_seconds_total", labels) or 0.0

    @client.application.get("/held/<int:number>")
    def hold(number: int) -> str:
        with client.application.extensions["pool"].engines["default"].connect():
            sleep(0.05)
        return str(number)

    before = held("/held/<int:number>"), held("-")
    client.get("/held/1")
    client.get("/held/2")
    with client.application.extensions["pool"].engines["default"].connect():
        sleep(0.05)

    assert held("/held/<int:number>") - before[0] >= 0.1
    assert held("-") - before[1] >= 0.05


WORKER = """
import pathlib, sys
from flask_pool.ops import counting, metrics, shared
shared._folder = pathlib.Path(sys.argv[1])
def count():
    metrics.TIMEOUTS.labels("worker").add()
    counting.wake()
for _ in sys.stdin:
    count()
count()
"""


def test_other_processes_see_each_count_soon_and_at_the_end_all(tmp_path: Path) -> None:
    def seen() -> float:
        rows = (json.loads(file.read_text()) for file in tmp_path.glob("*.json"))
        return float(sum(row.get(key, [0])[0] for row in rows))

    key = metrics.TIMEOUTS.labels("worker").key
    command = [sys.executable, "-c", WORKER, str(tmp_path)]
    with Popen(command, stdin=PIPE, text=True) as worker:
        assert worker.stdin is not None
        for number in (1, 2):  # the second after nothing has happened for a while
            worker.stdin.write("\n")
            worker.stdin.flush()
            until = monotonic() + LONG
            while seen() < number:
                assert monotonic() < until
                sleep(0.01)
            sleep(5 * counting.SOON)
        worker.stdin.close()

    assert (worker.returncode, seen()) == (0, 3)


def test_prometheus_reads_the_sum_of_all_workers(
    metered: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with metered.connect():
        pass
    uses = value("use_time_seconds_count")
    own = {key: [2 * cell for cell in row] for key, row in counting.numbers().items()}
    other = {**own, metrics.HELD.labels("metered", "/elsewhere").key: [1.5]}
    monkeypatch.setattr(shared, "_folder", tmp_path)
    (tmp_path / f"{os.getppid()}.json").write_text(json.dumps(other))
    (tmp_path / "ended.json").write_text(json.dumps({metrics.LEAKS.labels("metered").key: [7]}))

    assert value("held_seconds_total", route="/elsewhere") == 1.5
    assert value("leaks_total") == 7
    assert value("count", state="idle") == 3
    assert value("use_time_seconds_count") == 3 * uses > 0
    assert value("use_time_seconds_bucket", le="+Inf") == 3 * uses


def test_what_was_told_once_is_kept_if_its_worker_is_killed(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(shared, "_folder", tmp_path)

    for path in ("/metrics", "/pool.json"):
        assert client.get(path, headers=OPERATOR).status_code == 200
        file = tmp_path / f"{os.getpid()}.json"
        assert json.loads(file.read_text()).keys() == counting.numbers().keys()
        file.unlink()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Python's, of forks beside threads
def test_a_child_counts_from_0_even_if_its_parent_was_counting() -> None:
    series = metrics.TIMEOUTS.labels("forked")
    series.add(5)
    held, done = Event(), Event()

    def count() -> None:
        with counting._lock:
            held.set()
            done.wait(LONG)

    thread = Thread(target=count)
    thread.start()
    held.wait()

    child = os.fork()
    if child == 0:
        signal.alarm(5)
        series.add()
        os._exit(series.cells != [1.0])
    done.set()
    thread.join()

    assert os.waitpid(child, 0)[1] == 0
    assert series.cells == [5.0]
