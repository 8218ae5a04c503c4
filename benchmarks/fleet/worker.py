"""What the simulation of pools is made of."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Settings:
    """Of one worker; the defaults are the product's, but for rate and hold."""

    threads: int = 5
    pool_size: int = 5
    max_overflow: int = 10
    pool_timeout: float = 30.0
    connect_timeout: float = 5.0
    rate: float = 5.0  # requests a second
    hold: float = 0.001  # mean seconds that a request has its connection; exponential


@dataclass(slots=True)
class Server:
    """What grants connections: so many, one after another, but not while it is down."""

    limit: float
    connect: float  # seconds that each takes of the one process that accepts them
    backlog: int = 4096  # who waits to be accepted; further ones are dropped
    down: tuple[float, float] = (-1.0, -1.0)
    open: int = 0
    free_at: float = 0.0
    pending: int = 0
    life: int = 0  # restarts so far: connections of an earlier life are dead


@dataclass(slots=True)
class Counts:
    """What happened to requests, and the waits of those that were served."""

    arrived: int = 0
    served: int = 0
    refused: int = 0
    started: int = 0
    wait: float = 0.0  # sum of seconds, of those that got a connection
    area: float = 0.0  # sum over time of how many wait
    connects: int = 0
    most_open: int = 0


@dataclass(slots=True)
class Worker:
    """A process: threads, and a pool whose idle connections are the life they are of."""

    free: int
    line: deque[float] = field(default_factory=deque)  # for a thread; when each came
    idle: deque[int] = field(default_factory=deque)
    waiters: deque[list[Any]] = field(default_factory=deque)  # for a connection: [came, waits?]
    places: int = 0  # connections, and those that are being opened
