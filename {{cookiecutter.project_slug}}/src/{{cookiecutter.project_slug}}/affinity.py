"""One core at a time for a worker: its threads take turns, and waking another core is slow.

Python runs one thread of a process at a time. Spread over cores, a busy worker spends a
third of its time on handing over from one to the other.
"""

from __future__ import annotations

import contextlib
import os
import sys
from threading import Thread
from time import sleep

STAY = 1.0  # seconds; no longer does a worker share a core with another one while one is free
CHOOSE = 0.01  # seconds that the system has to move it
PROCESSOR = 36  # of the fields behind the name in /proc/self/stat, see proc(5)


def keep_to_one_core() -> None:
    """Keep this process on one core, which the system may change every second (Linux only)."""
    if sys.platform != "linux" or "t" in sys.abiflags:  # threads that need not take turns
        return
    cores = os.sched_getaffinity(0)
    if len(cores) > 1:
        Thread(target=_follow, args=(cores,), daemon=True).start()
        os.register_at_fork(after_in_child=lambda: _allow(cores))


def _follow(cores: set[int]) -> None:
    with contextlib.suppress(PermissionError):  # a sandbox's: then the cores stay as they are
        while True:
            _allow(cores)
            sleep(CHOOSE)
            with open("/proc/self/stat", encoding="utf-8", errors="replace") as file:
                fields = file.read().rpartition(")")[2].split()
            _allow({int(fields[PROCESSOR])})
            sleep(STAY)


def _allow(cores: set[int]) -> None:
    """Let all threads run on these cores; new ones inherit it."""
    if sys.platform == "linux":
        for thread in os.listdir("/proc/self/task"):
            with contextlib.suppress(ProcessLookupError):  # it has ended
                os.sched_setaffinity(int(thread), cores)
