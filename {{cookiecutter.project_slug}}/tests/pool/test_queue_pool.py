"""The line in front of the pool: who waits for what, and for how long."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import import_module
from time import sleep
from typing import Any

import pytest
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

import {{cookiecutter.project_slug}} as service

gates = import_module(f"{service.__name__}.pool.gate")
LONG = 5  # seconds: a test that waits for as long has failed


def gate(**options: Any) -> Any:
    """Return a gate for two kept connections and one more, both kept ones in use."""
    made = gates.Gate(3, 4 * LONG, overflow=1, **options)
    made.connected(4 * LONG)
    assert made.take()
    assert made.take()
    return made


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


def in_line(threads: ThreadPoolExecutor, made: Any) -> Future[None]:
    """Return somebody who waits."""
    waiter = threads.submit(made.wait)
    while not made.waiting:
        assert not waiter.done()
        sleep(0.001)
    return waiter


def test_a_kept_connection_is_waited_for_before_another_is_opened(
    threads: ThreadPoolExecutor,
) -> None:
    made = gate()
    assert not made.take()

    waiter = in_line(threads, made)
    made.release()

    waiter.result(LONG)
    assert made.free == 1


def test_an_idle_connection_beyond_the_kept_ones_is_taken_at_once() -> None:
    assert gate(idle=lambda: 1).take()


def test_who_has_waited_as_long_as_opening_takes_opens_one() -> None:
    made = gate()
    made.connected(0.01)

    made.wait()

    assert made.free == 0


def test_a_shortage_that_lasts_opens_one_at_once_for_the_first_in_line(
    threads: ThreadPoolExecutor,
) -> None:
    made = gate()
    first = in_line(threads, made)
    for _ in range(gates.LOAD + 1):
        assert not made.take()
    second = threads.submit(made.wait)

    first.result(LONG)
    assert made.free == 0
    assert not second.done()

    made.release()
    second.result(LONG)


def test_only_who_would_get_no_slot_counts_as_one_too_many(threads: ThreadPoolExecutor) -> None:
    made = gate(max_waiting=0)
    waiter = in_line(threads, made)

    with pytest.raises(PoolTimeoutError, match="wait for a connection already"):
        made.wait()

    made.release()
    waiter.result(LONG)


def test_the_fastest_connect_says_how_long_to_wait() -> None:
    made = gates.Gate(3, LONG, overflow=1)
    for seconds in (0.2, 0.1, 0.3):
        made.connected(seconds)
    assert made.patience == 0.1
