"""Waiting for what happens in another process."""

import os
import time
from collections.abc import Callable


def wait_until(condition: Callable[[], object], seconds: float = 120, pause: float = 0.05) -> None:
    """Wait until a condition holds; the deadline only ends a run that would never end."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not so after {seconds} seconds")
        time.sleep(pause)


def paced(seconds: float) -> float:
    """Give a length of time as this machine has it: up to five times while its cores are busy."""
    return seconds * min(5, max(1, os.getloadavg()[0] / (os.cpu_count() or 1)))
