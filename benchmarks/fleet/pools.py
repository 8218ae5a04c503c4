"""Workers with their threads and pools, event by event, as FairQueuePool does it.

A request takes a thread, then a connection: an idle one, first in first out, or a new one while
there is a place, or it waits in line. One that turns out dead is replaced in its request: a
connect that fails is an answer of 503 at once, without a pause or a second try, and its place
goes to the next in line. What a restart of the database brings back is therefore paced by
requests, and by at most as many connects at once as there are threads.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from random import Random
from typing import Any

from .worker import Counts, Server, Settings, Worker


class Simulation:
    """All workers and one server."""

    def __init__(self, seed: int, workers: int, settings: Settings, server: Server) -> None:
        self.random = Random(seed)
        self.settings, self.server = settings, server
        self.counts = Counts()
        self.workers = [Worker(settings.threads) for _ in range(workers)]
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = count()
        self._in_line = 0
        for worker in self.workers:  # prefill: pool_size connections, one after another
            granted = min(settings.pool_size, int(server.limit) - server.open)
            worker.idle.extend([0] * granted)
            worker.places = granted
            server.open += granted
            self._at(self.random.expovariate(settings.rate), self._arrive, worker)
        self.counts.most_open = server.open

    @property
    def waiting(self) -> int:
        """Return how many requests are in a thread or in line for one."""
        threads = self.settings.threads
        return sum(threads - worker.free + len(worker.line) for worker in self.workers)

    def run(self, until: float, warm: float = 0.0) -> Counts:
        """Play to this time; what happened before `warm` is not counted."""
        if self.server.down[0] >= 0:
            self._at(self.server.down[0], self._crash)
        cleared = not warm
        while self._events and self._events[0][0] <= until:
            then, _, action, arguments = heapq.heappop(self._events)
            if not cleared and then > warm:
                in_system = self.waiting
                self.counts, self.now, cleared = Counts(arrived=in_system), warm, True
            self.counts.area += self._in_line * (then - self.now)
            self.now = then
            action(*arguments)
        return self.counts

    def _at(self, time: float, action: Callable[..., None], *arguments: Any) -> None:
        heapq.heappush(self._events, (time, next(self._order), action, arguments))

    def _crash(self) -> None:
        self.server.life += 1
        self.server.open = 0

    @property
    def _is_down(self) -> bool:
        return self.server.down[0] <= self.now < self.server.down[1]

    # a request

    def _arrive(self, worker: Worker) -> None:
        self._at(self.now + self.random.expovariate(self.settings.rate), self._arrive, worker)
        self.counts.arrived += 1
        self._in_line += 1
        if worker.free:
            self._begin(worker, self.now)
        else:
            worker.line.append(self.now)

    def _begin(self, worker: Worker, came: float) -> None:
        worker.free -= 1
        if worker.idle:
            self._check(worker, came, worker.idle.popleft())
        elif worker.places < self.settings.pool_size + self.settings.max_overflow:
            worker.places += 1
            self._connect(worker, came, None)
        else:
            waiter = [came, True]
            worker.waiters.append(waiter)
            self._at(self.now + self.settings.pool_timeout, self._give_up, worker, waiter)

    def _give_up(self, worker: Worker, waiter: list[Any]) -> None:
        if waiter[1]:
            waiter[1] = False
            worker.waiters.remove(waiter)
            self._refuse(worker)

    def _check(self, worker: Worker, came: float, life: int) -> None:
        if life == self.server.life and not self._is_down:
            self._use(worker, came, life)
        else:
            self._connect(worker, came, life)

    def _connect(self, worker: Worker, came: float, life: int | None) -> None:
        server = self.server
        self.counts.connects += 1
        if self._is_down:  # nobody listens: refused at once
            self._failed(worker, life)
        elif server.pending >= server.backlog:
            self._at(self.now + self.settings.connect_timeout, self._failed, worker, life)
        else:
            server.pending += 1
            server.free_at = max(server.free_at, self.now) + server.connect
            late = self.now + self.settings.connect_timeout
            if server.free_at > late:  # given up before; the server finds out in its turn
                self._at(late, self._failed, worker, life)
                self._at(server.free_at, self._accepted_in_vain)
            else:
                self._at(server.free_at, self._accepted, worker, came, life)

    def _accepted_in_vain(self) -> None:
        self.server.pending -= 1

    def _accepted(self, worker: Worker, came: float, life: int | None) -> None:
        server = self.server
        server.pending -= 1
        if self._is_down or server.open >= server.limit:
            self._failed(worker, life)
            return
        server.open += 1
        self.counts.most_open = max(self.counts.most_open, server.open)
        self._use(worker, came, server.life)

    def _failed(self, worker: Worker, life: int | None) -> None:
        if life is None:
            worker.places -= 1
            if worker.waiters:  # the place goes to the longest waiter
                worker.places += 1
                self._connect(worker, self._served(worker), None)
        else:
            self._give_back(worker, life)
        self._refuse(worker)

    def _refuse(self, worker: Worker) -> None:
        self.counts.refused += 1
        self._in_line -= 1
        self._thread_free(worker)

    def _use(self, worker: Worker, came: float, life: int) -> None:
        self._in_line -= 1
        self.counts.started += 1
        self.counts.wait += self.now - came
        end = self.now + self.random.expovariate(1 / self.settings.hold)
        self._at(end, self._done, worker, life)

    def _done(self, worker: Worker, life: int) -> None:
        if life == self.server.life:
            self.counts.served += 1
        else:  # it died in use; that a read is run once more is left out
            self.counts.refused += 1
        self._give_back(worker, life)
        self._thread_free(worker)

    def _give_back(self, worker: Worker, life: int) -> None:
        if worker.waiters:
            self._check(worker, self._served(worker), life)
        elif len(worker.idle) < self.settings.pool_size:
            worker.idle.append(life)
        else:
            worker.places -= 1
            self.server.open -= life == self.server.life

    def _served(self, worker: Worker) -> float:
        waiter = worker.waiters.popleft()
        waiter[1] = False
        came: float = waiter[0]
        return came

    def _thread_free(self, worker: Worker) -> None:
        worker.free += 1
        if worker.line:
            self._begin(worker, worker.line.popleft())
