"""What Prometheus sees of the pool."""

from __future__ import annotations

import gc
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from threading import Event, Thread
from time import sleep

import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client import REGISTRY
from sqlalchemy import create_engine, event
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

import {{cookiecutter.project_slug}} as service

OPERATOR = {"Authorization": "Bearer operator"}
OPS = Path(__file__).parents[1] / "ops"
CONNECTION = "db_client_connection_"
NAMES = {
    "count", "max", "idle_max", "pending_requests", "timeouts_total", "leaks_total",
    "replaced_total", "create_time_seconds_bucket", "wait_time_seconds_bucket",
    "use_time_seconds_bucket",
}  # fmt: skip


@pytest.fixture
def metered(app: Flask, migrated: str) -> Iterator[Engine]:
    """An engine whose pool has a name, and so metrics, of its own."""
    options = service.pool.options.engine_options(make_url(migrated), app.config)
    engine = create_engine(**options)
    service.pool.care.watch(engine, "metered", app.config)
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
    client.get("/users")

    assert {CONNECTION + name for name in NAMES} <= exported(client)


@pytest.mark.parametrize("file", ["alerts.yml", "alerts_test.yml", "dashboard.json"])
def test_alerts_and_dashboard_ask_for_what_is_exported(client: FlaskClient, file: str) -> None:
    client.get("/users")

    asked = set(re.findall(r"\bdb_client_\w+", (OPS / file).read_text(encoding="utf-8")))

    assert len(asked) > 5
    assert asked <= exported(client)


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": ""}])
def test_metrics_are_for_operators(client: FlaskClient, headers: dict[str, str]) -> None:
    assert client.get("/metrics", headers=headers).status_code == 404
    assert client.get("/metrics", headers=OPERATOR).status_code == 200


def test_without_a_token_nobody_is_an_operator(migrated: str) -> None:
    settings = {"TESTING": True, "SQLALCHEMY_DATABASE_URI": migrated, "OPS_TOKEN": ""}
    client = service.create_app(settings).test_client()

    for headers in ({}, {"Authorization": "Bearer "}, {"Authorization": ""}):
        assert client.get("/metrics", headers=headers).status_code == 404


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

    bounds = service.pool.metrics.BUCKETS
    assert bounds[0] == 0.00005
    assert all(high / low <= 3 for low, high in pairwise(bounds))
    assert value("wait_time_seconds_count") == before[0] + 20
    assert value("use_time_seconds_count") == before[1] + 20
    assert value("wait_time_seconds_bucket", le="0.001") >= 15
    assert value("create_time_seconds_count") >= 1


def use_time(pool_name: str) -> float | None:
    return REGISTRY.get_sample_value(f"{CONNECTION}use_time_seconds_sum", {"pool_name": pool_name})


class Reentrant(float):
    """A number that does something while it is being added."""

    action: Callable[[], object]

    def __radd__(self, other: float) -> float:
        self.action()
        return other + float(self)


def test_the_garbage_collector_may_return_a_connection_while_one_is_counted() -> None:
    metrics = service.pool.metrics.PoolMetrics("reentrant")
    amount = Reentrant(0.5)
    amount.action = lambda: metrics.returned(1.0)

    thread = Thread(target=metrics.returned, args=(amount,), daemon=True)
    thread.start()
    thread.join(5)

    assert not thread.is_alive()
    assert use_time("reentrant") == 1.5


def linger(reached: Event) -> None:
    reached.set()
    sleep(0.05)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Python's, of forks beside threads
def test_a_child_can_count_even_if_its_parent_was_counting() -> None:
    metrics = service.pool.metrics.PoolMetrics("forks")
    counting = Event()
    amount = Reentrant(0.5)
    amount.action = lambda: linger(counting)
    thread = Thread(target=metrics.returned, args=(amount,))
    thread.start()
    counting.wait()

    child = os.fork()
    if child == 0:
        signal.alarm(5)
        metrics.returned(1.0)
        os._exit(use_time("forks") != 1.5)
    thread.join()

    assert os.waitpid(child, 0)[1] == 0
