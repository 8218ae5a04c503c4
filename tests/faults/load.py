"""Load and disturbance, both bounded."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from .service import Answer

PATIENCE = 120  # seconds for the last action to end
# the numbers to reach speak of 10,000 requests, which `make check` sends
REQUESTS = int(os.environ.get("FLASK_POOL_FAULT_REQUESTS", "1000"))


def load(
    ask: Callable[[int], Answer], requests: int, threads: int = 8, first: int = 0
) -> list[Answer]:
    """Send requests from several threads and give every answer, in order."""
    with ThreadPoolExecutor(threads) as executor:
        return list(executor.map(ask, range(first, first + requests)))


def statuses(answers: list[Answer]) -> dict[int, int]:
    """Count the answers by status."""
    return dict(Counter(answer.status for answer in answers))


@contextmanager
def every(seconds: float, action: Callable[[], Any]) -> Iterator[list[Any]]:
    """Do something again and again while the block runs; yield what it has given so far."""
    results: list[Any] = []
    end = threading.Event()

    def repeat() -> None:
        while not end.wait(seconds):
            results.append(action())

    with ThreadPoolExecutor(1) as executor:
        repeating = executor.submit(repeat)
        try:
            yield results
        finally:
            end.set()
            repeating.result(PATIENCE)


@contextmanager
def steadily(ask: Callable[[int], Answer], threads: int = 8) -> Iterator[list[Answer]]:
    """Send requests while the block runs; yield the answers so far."""
    answers: list[Answer] = []
    end = threading.Event()
    numbers = iter(range(10**9))
    lock = threading.Lock()

    def repeat() -> None:
        while not end.is_set():
            with lock:
                number = next(numbers)
            answers.append(ask(number))
            time.sleep(0.001)  # a refusal costs nothing and would leave no time for others

    with ThreadPoolExecutor(threads) as executor:
        asking = [executor.submit(repeat) for _ in range(threads)]
        try:
            yield answers
        finally:
            end.set()
            for one in asking:
                one.result(PATIENCE)
