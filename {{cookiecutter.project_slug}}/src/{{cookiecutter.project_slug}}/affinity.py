"""One core at a time for a worker: its threads take turns, and waking another core is slow.

Python runs one thread of a process at a time. Spread over cores, a busy worker spends a
third of its time on handing over from one to the other.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from random import uniform
from threading import Thread
from time import monotonic, process_time, sleep

MARGIN = 0.2  # of a core: another one must have that much more time to be worth moving


def keep_to_one_core(number: int) -> None:
    """Keep worker `number` on one core, one with more time if there is (Linux only)."""
    if sys.platform != "linux" or "t" in sys.abiflags:  # threads that need not take turns
        return
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        first = cores[number % len(cores)]
        Thread(target=_follow, args=(cores, first), daemon=True).start()
        os.register_at_fork(after_in_child=lambda: _allow(cores))


def _follow(cores: list[int], core: int) -> None:
    with contextlib.suppress(PermissionError):  # a sandbox's: then the cores stay as they are
        while True:
            _allow([core])
            before, own, began = _busy(cores), process_time(), monotonic()
            sleep(uniform(0.5, 1.5))  # noqa: S311  (so that two workers do not move as one)
            others = {each: busy - before[each] for each, busy in _busy(cores).items()}
            others[core] -= process_time() - own
            freest = min(others, key=others.__getitem__)
            if others[freest] < others[core] - MARGIN * (monotonic() - began):
                core = freest


def _busy(cores: list[int]) -> dict[int, float]:
    """Return the seconds that each core has been at work, see proc(5)."""
    found = dict.fromkeys(cores, 0.0)
    for line in Path("/proc/stat").read_text("ascii").splitlines():
        name, *times = line.split()
        number = name.removeprefix("cpu")
        if number.isdigit() and int(number) in found:
            user, nice, system, _idle, _iowait, *interrupts = map(int, times[:8])
            found[int(number)] = user + nice + system + sum(interrupts)
    return {core: ticks / os.sysconf("SC_CLK_TCK") for core, ticks in found.items()}


def _allow(cores: list[int]) -> None:
    """Let all threads run on these cores; new ones inherit it."""
    if sys.platform == "linux":
        for thread in os.listdir("/proc/self/task"):
            with contextlib.suppress(ProcessLookupError):  # it has ended
                os.sched_setaffinity(int(thread), cores)
