"""First come, first served: the queue in front of the pool."""

from __future__ import annotations

import threading
from collections import deque

from sqlalchemy.exc import TimeoutError as PoolTimeoutError


class TooManyWaiting(PoolTimeoutError):
    """Refused at once, as `max_waiting` threads wait for a connection already."""


class Gate:
    """Hands out `capacity` slots in the order in which they were asked for.

    A slot that is given back goes straight to whoever waits longest, so nobody can
    overtake and no wake-up is lost. The lock is reentrant because the garbage collector
    may give a slot back at any point, in a thread that holds it.
    """

    def __init__(self, capacity: int, timeout: float, max_waiting: int | None = None) -> None:
        self.capacity = capacity
        self.timeout = timeout
        self.max_waiting = max_waiting
        self._free = capacity
        self._waiters: deque[threading.Lock] = deque()
        self._lock = threading.RLock()

    @property
    def free(self) -> int:
        """Slots that nobody holds."""
        return self._free

    @property
    def waiting(self) -> int:
        """Threads that wait for a slot."""
        return len(self._waiters)

    def take(self) -> bool:
        """Take a slot if one is free."""
        with self._lock:
            if self._free > 0:
                self._free -= 1
                return True
            return False

    def wait(self) -> None:
        """Wait in line for a slot; TimeoutError after `timeout` s, TooManyWaiting at once."""
        turn = threading.Lock()
        turn.acquire()
        with self._lock:
            if self.take():  # given back since
                return
            if self.max_waiting is not None and len(self._waiters) >= self.max_waiting:
                raise TooManyWaiting(f"{self.max_waiting} threads wait for a connection already")
            self._waiters.append(turn)
        self._await(turn)

    def release(self) -> None:
        """Give a slot to the longest waiter, or back."""
        with self._lock:
            if self._waiters:
                self._waiters.popleft().release()
            else:
                self._free += 1

    def _await(self, turn: threading.Lock) -> None:
        """Wait for the turn; leave the queue when it does not come in time."""
        try:
            if turn.acquire(timeout=self.timeout):
                return
        except BaseException:  # such as KeyboardInterrupt
            if not self._leave(turn):
                self.release()
            raise
        if self._leave(turn):
            raise PoolTimeoutError(
                f"no connection of {self.capacity} was returned within {self.timeout:g} s"
            )

    def _leave(self, turn: threading.Lock) -> bool:
        """Step out of the queue; False when the slot was handed over just before."""
        with self._lock:
            if turn not in self._waiters:
                return False
            self._waiters.remove(turn)
            return True
