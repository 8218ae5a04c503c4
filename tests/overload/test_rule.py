"""The rule itself, and what tells a wait."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from bake import ROOT
from flask_pool import queue


def rule(target: float = 0.1, interval: float = 0.2) -> queue.Rule:
    """Return a rule with a short interval."""
    return queue.Rule(target, interval)


def overload(tested: queue.Rule) -> None:
    """See long waits for longer than an interval."""
    until = time.monotonic() + 1.5 * tested.interval
    while time.monotonic() < until:
        tested.refuses(0.15)
        time.sleep(tested.interval / 20)


def test_before_overload_only_ten_times_the_target_is_refused() -> None:
    """A burst may wait."""
    tested = rule()
    assert [tested.refuses(wait) for wait in (0.05, 0.5, 0.99, 1.01)] == [False, False, False, True]


def test_after_an_interval_of_long_waits_twice_the_target_is_refused() -> None:
    """The line does not get shorter by itself."""
    tested = rule()
    overload(tested)
    assert [tested.refuses(wait) for wait in (0.15, 0.19, 0.21)] == [False, False, True]


def test_one_short_wait_ends_overload() -> None:
    """Somebody waited for less than T: the line was empty."""
    tested = rule()
    overload(tested)
    assert not tested.refuses(0.01)
    assert not tested.refuses(0.5)


def test_an_interval_without_a_request_ends_overload() -> None:
    """What was seen long ago tells nothing."""
    tested = rule()
    overload(tested)
    time.sleep(1.5 * tested.interval)
    assert not tested.refuses(0.5)


def test_requests_with_a_body_are_no_samples() -> None:
    """Their wait ends with the last byte that arrived, which may be just now."""
    tested = rule()
    overload(tested)
    assert not tested.refuses(0.0, sample=False)
    assert tested.refuses(0.5)


def test_slow_views_raise_the_threshold() -> None:
    """T is at least the mean time of a request."""
    tested = rule()
    for _ in range(100):
        tested.took(1.0)
    assert tested.threshold == pytest.approx(1.0)
    assert not tested.refuses(9.0)
    assert tested.refuses(11.0)


def test_a_target_of_zero_refuses_nothing() -> None:
    """However long it waited."""
    tested = rule(target=0)
    overload(tested)
    assert not tested.refuses(1000.0)


def test_an_unknown_wait_is_not_refused() -> None:
    """Nobody is refused on a guess."""
    tested = rule()
    overload(tested)
    assert not tested.refuses(None)


def test_the_log_has_one_line_a_second(caplog: pytest.LogCaptureFixture) -> None:
    """However many are refused."""
    tested = rule()
    for _ in range(500):
        tested.count_refusals()
    assert tested.refused == 500
    assert len(caplog.records) == 1


def test_listeners_learn_when_refusals_have_ended() -> None:
    """Metrics show since when requests are refused, and then that they are not."""
    tested, told = rule(), list[int]()
    tested.on_refusal.append(told.append)
    tested.refuses(5.0)
    tested.count_refusals(3)
    assert tested.since == pytest.approx(time.time(), abs=5)
    time.sleep(1.5 * tested.interval)
    tested.tell()
    assert (tested.since, told) == (None, [3, 0])


@pytest.mark.parametrize("factor", [1, 1e3, 1e6])
@pytest.mark.parametrize("prefix", ["", "t="])
def test_request_start_is_read_in_three_units(factor: float, prefix: str) -> None:
    """Proxies send seconds, milliseconds or microseconds."""
    start = f"{prefix}{(time.time() - 3) * factor:.3f}"
    assert queue.since_start(start) == pytest.approx(3, abs=1)


@pytest.mark.parametrize(
    "text", [None, "", "t=", "yesterday", "12", "-1700000000", "1e9", "9" * 40]
)
def test_a_request_start_that_is_no_time_is_ignored(text: str | None) -> None:
    """A client can send anything."""
    assert queue.since_start(text) is None


def test_a_clock_that_is_ahead_gives_no_negative_wait() -> None:
    """A little ahead is no wait; far ahead is another clock."""
    assert queue.since_start(str(time.time() + 5)) == 0.0
    assert queue.since_start(str(time.time() + 5000)) is None


@pytest.mark.parametrize(
    "path", ["/healthz/live", "/healthz/ready", "/metrics", "/pool", "/pool.json"]
)
def test_probes_and_pages_are_exempt(path: str) -> None:
    """With a prefix too."""
    assert rule().exempt(path)
    moved = queue.Rule(prefix="/internal")
    assert moved.exempt("/internal" + path)


@pytest.mark.parametrize("path", ["", "/", "/users", "/pools", "/metricsx", "/healthz"])
def test_other_paths_are_not_exempt(path: str) -> None:
    """Only whole names are."""
    assert not rule().exempt(path)


def test_the_server_side_loads_neither_flask_nor_sqlalchemy() -> None:
    """A master that imports it serves new code after SIGHUP."""
    code = (
        "import sys, flask_pool.gunicorn, flask_pool.ops.shared, flask_pool.settings\n"
        "assert flask_pool.__version__\n"
        "print([name for name in ('flask', 'sqlalchemy', 'click') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT / "src"
    )
    assert done.stdout.strip() == "[]"
