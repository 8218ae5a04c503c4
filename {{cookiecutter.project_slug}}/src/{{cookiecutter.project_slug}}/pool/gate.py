"""First come, first served: the queue in front of the pool."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from sqlalchemy.exc import TimeoutError as PoolTimeoutError


class TooManyWaiting(PoolTimeoutError):
    """Refused at once, as `max_waiting` threads wait for a connection already."""


# checkouts in a row that find no idle connection: this is load, and no flicker of it
LOAD = 50


class Gate:
    """Hands out `capacity` slots in the order in which they were asked for.

    A slot that is given back goes straight to whoever waits longest, so nobody can
    overtake and no wake-up is lost. The last `overflow` slots are for connections that
    are opened for one use: who needs one waits first, for as long as opening it would
    take, for another one to come back. The lock is reentrant because the garbage collector
    may give a slot back at any point, in a thread that holds it.
    """

    def __init__(
        self,
        capacity: int,
        timeout: float,
        max_waiting: int | None = None,
        overflow: int = 0,
        idle: Callable[[], int] = int,  # how many connections can be had without opening one
    ) -> None:
        self.capacity = capacity
        self.timeout = timeout
        self.max_waiting = max_waiting
        self.overflow = overflow
        self.patience = 0.0
        self._idle = idle
        self._missed = 0  # checkouts since one found an idle connection
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

    def connected(self, seconds: float) -> None:
        """Learn what opening a connection takes, at best."""
        self.patience = min(self.patience or seconds, seconds)

    def take(self) -> bool:
        """Take a slot, unless somebody waits or another connection had better be waited for."""
        # asked without the lock, as the pool has one of its own
        at_hand = self._free > self.overflow or self._idle() > 0
        with self._lock:
            self._missed = 0 if at_hand else self._missed + 1
            if self._waiters or self._free == 0 or not (at_hand or self.patience == 0):
                return False
            self._free -= 1
            return True

    def wait(self) -> None:
        """Wait in line for a slot; TimeoutError after `timeout` s, TooManyWaiting at once."""
        turn = threading.Lock()
        turn.acquire()
        with self._lock:
            if self.max_waiting is not None and len(self._waiters) >= self.max_waiting + self._free:
                raise TooManyWaiting(f"{self.max_waiting} threads wait for a connection already")
            self._waiters.append(turn)
            # one given back since the look at it, or a shortage that lasts
            if self._free > self.overflow or (self._free > 0 and self._missed > LOAD):
                self._free -= 1
                self._waiters.popleft().release()
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
        patience = min(self.patience, self.timeout) if self._free > 0 else 0.0
        try:
            if patience and (turn.acquire(timeout=patience) or self._open(turn)):
                return
            if turn.acquire(timeout=self.timeout - patience):
                return
        except BaseException:  # such as KeyboardInterrupt
            if not self._leave(turn):
                self.release()
            raise
        if self._leave(turn):
            raise PoolTimeoutError(
                f"no connection of {self.capacity} was returned within {self.timeout:g} s"
            )

    def _open(self, turn: threading.Lock) -> bool:
        """Leave the queue with a free slot, if there is one."""
        with self._lock:
            if self._free > 0 and self._leave(turn):
                self._free -= 1
                return True
            return False

    def _leave(self, turn: threading.Lock) -> bool:
        """Step out of the queue; False when the slot was handed over just before."""
        with self._lock:
            if turn not in self._waiters:
                return False
            self._waiters.remove(turn)
            return True
