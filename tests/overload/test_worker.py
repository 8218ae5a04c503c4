"""The worker under loads that it can serve and under more, with two versions of gunicorn.

Views take 0.2 s, so that capacity is counted in threads and a busy machine changes little.
"""

from __future__ import annotations

import contextlib
import http.client
import signal
import time
from pathlib import Path

import psutil
import pytest

from .service import OURS, PLAIN, Generator, read_answer, result, serve, wait_for

pytestmark = pytest.mark.needs("gcc")

SLOW = "/?seconds=0.2"
CAPACITY = 4 / 0.2  # requests a second of a worker with four threads


def test_a_load_that_can_be_served_is_served(folder: Path, load: Generator, gunicorn: str) -> None:
    """At 70 % of the capacity no request is refused and no client leaves."""
    with serve(folder, GUNICORN=gunicorn) as service:
        done = load.run(service.port, f"{0.7 * CAPACITY}:5", path=SLOW)
    assert set(done.statuses) == {200}


def test_three_times_the_load(folder: Path, load: Generator, gunicorn: str) -> None:
    """Most of the capacity is answered in time, the rest is refused, probes answer all along."""
    with serve(folder, GUNICORN=gunicorn) as service:
        done = load.run(service.port, f"{3 * CAPACITY}:6", path=SLOW)
        log = service.log.read_text()
    assert len(done.served) > 0.6 * 6 * CAPACITY
    assert done.within(0.5) < 1
    assert done.statuses[503] > 100
    assert done.slowest_probe < 4
    assert 2 <= log.count("overloaded") <= 12


def test_plain_gunicorn_under_the_same_load(folder: Path, load: Generator) -> None:
    """Each request waits for longer than its client, and so does each probe."""
    with serve(folder, worker=PLAIN) as service:
        done = load.run(service.port, f"{3 * CAPACITY}:6", path=SLOW)
    assert len(done.served) < 0.7 * 6 * CAPACITY
    assert done.slowest_probe > 4


def test_twenty_times_the_load(folder: Path, load: Generator) -> None:
    """Refusing costs so little that half of the capacity is served, on any machine."""
    with serve(folder) as service:
        done = load.run(service.port, f"{20 * CAPACITY}:5", path=SLOW)
    assert len(done.served) > 0.5 * 5 * CAPACITY
    assert done.slowest_probe < 4


def test_bursts_shorter_than_the_interval(folder: Path, load: Generator) -> None:
    """At 60 % on average, with ten times the usual rate for 0.3 s of each second."""
    usual = 0.6 * CAPACITY / 3.7
    with serve(folder) as service:
        done = load.run(service.port, *[f"{10 * usual}:0.3", f"{usual}:0.7"] * 6, path=SLOW)
    assert done.statuses[503] <= 0.02 * len(done.clients)


def test_slow_views_among_fast_ones(folder: Path, load: Generator) -> None:
    """Half of the threads' time goes to views of a second: next to nothing is refused."""
    with serve(folder, threads=6) as service:
        slow = load.start(service.port, "2:6", path="/?seconds=1", patience=10)
        fast = load.start(service.port, "20:6", path="/?seconds=0.02", patience=10)
        both = [*result(slow).clients, *result(fast).clients]
    assert sum(row.status == 503 for row in both) <= 0.02 * len(both)
    assert sum(row.status not in (200, 503) for row in both) == 0


def test_nothing_is_refused_with_a_target_of_zero(folder: Path, load: Generator) -> None:
    """POOL_QUEUE_TARGET=0 turns the rule off."""
    with serve(folder, POOL_QUEUE_TARGET="0") as service:
        done = load.run(service.port, f"{3 * CAPACITY}:3", path=SLOW)
    assert done.statuses[503] == 0


def test_a_retry_storm_ends(folder: Path, load: Generator) -> None:
    """A flood that stops is over at once: the next request is served within two seconds."""
    with serve(folder) as service:
        load.run(service.port, "400:3", path=SLOW)
        began = time.monotonic()
        wait_for(lambda: service.get()[0] == 200, 5)
        assert time.monotonic() - began < 3


def test_probes_are_answered_while_all_threads_are_stuck(folder: Path, gunicorn: str) -> None:
    """The spare thread answers them; what stands before them is refused at ten times T."""
    with serve(folder, threads=2, GUNICORN=gunicorn) as service:
        stuck = [service.ask("/?seconds=4") for _ in range(2)]
        time.sleep(0.3)
        line = [service.ask() for _ in range(20)]
        time.sleep(0.1)
        began = time.monotonic()
        assert service.get("/healthz/live") == (200, "live")
        waited = time.monotonic() - began
        answers = [read_answer(each)[0] for each in line]
        assert waited < 2.5  # ten times the target, and a busy machine
        assert answers.count(503) == 20
        assert [read_answer(each)[0] for each in stuck] == [200, 200]


def test_probes_find_their_way_past_slow_views(folder: Path) -> None:
    """With views of seconds the limit is long: who waits behind them is looked at all the same."""
    with serve(folder, threads=2) as service:
        for each in [service.ask("/?seconds=2") for _ in range(2)]:
            read_answer(each)
        stuck = [service.ask("/?seconds=5") for _ in range(2)]
        line = [service.ask("/?seconds=0") for _ in range(5)]
        time.sleep(0.1)
        began = time.monotonic()
        assert service.get("/healthz/live") == (200, "live")
        assert time.monotonic() - began < 3
        assert {read_answer(each)[0] for each in [*stuck, *line]} == {200}


def test_what_waited_while_a_worker_started_is_served(folder: Path) -> None:
    """A wait that began before the worker could serve is no overload."""
    with serve(folder, wait=False, STARTS_IN="3") as service:
        wait_for(lambda: bool(service.connect()))
        first = service.ask("/wait")
        assert read_answer(first)[0] == 200


@pytest.mark.parametrize("kind", ["TERM", "HUP"])
def test_a_signal_cuts_off_nobody_in_the_line(folder: Path, gunicorn: str, kind: str) -> None:
    """On SIGTERM the line is served before the listener is closed."""
    with serve(folder, GUNICORN=gunicorn, POOL_QUEUE_TARGET="10") as service:
        line = [service.ask("/?seconds=0.1") for _ in range(60)]
        time.sleep(0.3)
        service.signal(signal.Signals[f"SIG{kind}"])
        assert [read_answer(each)[0] for each in line] == [200] * 60


def test_max_requests_cuts_off_nobody_in_the_line(folder: Path, gunicorn: str) -> None:
    """Who stands in the line waits for the next worker."""
    options = ("--max-requests", "20")
    with serve(folder, *options, GUNICORN=gunicorn, POOL_QUEUE_TARGET="10") as service:
        line = [service.ask("/?seconds=0.05") for _ in range(60)]
        assert [read_answer(each)[0] for each in line] == [200] * 60


def test_sigterm_ends_an_idle_worker_at_once(folder: Path) -> None:
    """There is no line to serve, and nothing to wait for."""
    with serve(folder) as service:
        service.signal(signal.SIGTERM)
        assert service.process.wait(15) == 0


def test_two_workers_share_one_line(folder: Path) -> None:
    """No worker takes what another one could serve: eight requests on eight threads, then eight."""
    with serve(folder, workers=2, POOL_QUEUE_TARGET="10") as service:
        wait_for(lambda: service.log.read_text().count("Booting worker") == 2)
        time.sleep(1)
        began = time.monotonic()
        line = [service.ask("/?seconds=0.5") for _ in range(16)]
        assert [read_answer(each)[0] for each in line] == [200] * 16
        assert time.monotonic() - began < 2  # one worker alone: 2 s at best


def test_waiting_computes_nothing(folder: Path) -> None:
    """Neither kept-alive connections nor newcomers behind busy threads keep the loop turning."""

    def spent(seconds: float) -> float:
        before = sum(process.cpu_times()[:2])
        time.sleep(seconds)
        return float(sum(process.cpu_times()[:2]) - before)

    with serve(folder) as service:
        (process,) = psutil.Process(service.process.pid).children()
        for _ in range(20):
            assert read_answer(service.ask())[0] == 200
        assert spent(2) < 0.5
        for _ in range(4):
            service.ask("/?seconds=4")
        time.sleep(0.3)
        for _ in range(5):
            service.ask()
        service.connect()
        assert spent(2) < 0.5


def test_thread_that_gets_free_takes_the_next_at_once(folder: Path) -> None:
    """Side by side with plain gunicorn; a look every tenth of a second would take five times it."""
    took = {}
    for worker in (PLAIN, OURS):
        with serve(folder, worker=worker, threads=1) as service, contextlib.ExitStack() as stack:
            two = [http.client.HTTPConnection("127.0.0.1", service.port) for _ in range(2)]
            for client in two:
                stack.callback(client.close)
            began = time.monotonic()
            for _ in range(30):
                for client in two:
                    client.request("GET", "/?seconds=0.012")
                for client in two:
                    assert client.getresponse().read() == b"served"
            took[worker] = time.monotonic() - began
    assert took[OURS] < 2 * took[PLAIN] + 0.5
