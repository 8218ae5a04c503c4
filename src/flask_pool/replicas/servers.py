"""What a worker knows of each server, which it asks while there is traffic."""

from __future__ import annotations

import logging
import math
import os
import random
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread
from time import monotonic, sleep
from typing import Any
from zlib import crc32

from sqlalchemy.engine import Engine
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import ConnectionPoolEntry

from ..queue_pool import FairQueuePool
from .positions import UNKNOWN, Position, ask, covers, parse

logger = logging.getLogger(__name__)

SOON, SELDOM = 0.03, 1.0  # seconds between looks at a server that somebody waits for, and others
SPREAD = 0.25  # of these: workers must not look in step
PATIENCE = 1.0  # seconds that a look may take before its server counts as away


def _clock() -> str:
    """Return a name for what `monotonic` counts: the same in all processes of a machine."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        zero = Path("/proc/self/ns/time").readlink()
        return f"{crc32((boot + str(zero)).encode()):x}"
    except OSError:
        return secrets.token_hex(4)  # the processes that are forked from this one share it


CLOCK = _clock()


def stamp() -> str:
    """Return the position that the primary has now, as the moment at which it was read.

    A look that begins later on the same machine tells a position that is past it.
    """
    return f"{CLOCK}@{monotonic() + 1e-6:.6f}"


def is_foreign(seen: str) -> bool:
    """Tell whether this is another machine's stamp."""
    return "@" in seen and not seen.startswith(f"{CLOCK}@")


def _spread(seconds: float) -> float:
    return seconds * random.uniform(1 - SPREAD, 1 + SPREAD)  # noqa: S311


class Server:
    """A server, and what this worker knows of it."""

    def __init__(self, engine: Engine, question: str, name: str = "primary") -> None:
        url = engine.url
        self.engine = engine
        self.name = name
        # the same in every worker and for every order of the setting
        self._place = f"{crc32(repr((url.host, url.port, url.query.get('host'))).encode()):x}"
        self._started = ""  # when, as it says itself
        self.question = question
        self.position: Position | None = None  # that it has reached, at least
        self.fresh_at = -math.inf  # all that was committed before it is there
        self.refused = False  # it could not be reached, last
        self._looked = self._wanted = -math.inf  # when a look began, and after when one is to
        self._looks = 0  # the process in which a thread looks

    @property
    def key(self) -> str:
        """What clients bring back that have read from it since it was started."""
        return self._place + self._started

    @property
    def away(self) -> bool:
        """Whether it could not be reached, or lets somebody wait."""
        if self.refused or self._looks != os.getpid() or monotonic() - self._looked <= PATIENCE:
            return self.refused
        pool = self.engine.pool
        return not (isinstance(pool, FairQueuePool) and pool.waiting())  # the look waits in line

    @property
    def late(self) -> float:
        """The seconds that a replica is behind the primary, at most."""
        return monotonic() - self.fresh_at

    def has(self, *wanted: str) -> bool:
        """Tell whether it is surely past these positions and stamps."""
        return self.position is not None and all(self._is_past(each) for each in wanted)

    def _is_past(self, wanted: str) -> bool:
        clock, at, moment = wanted.partition("@")
        if at:
            return clock == CLOCK and self.fresh_at >= float(moment)
        return wanted != UNKNOWN and covers(self.position or {}, parse(wanted))

    def look_within(self, seconds: float, learn: Callable[[Server, float], None]) -> None:
        """Have a thread look at the server, unless one did so a moment ago; SOON: from now on."""
        now, process = monotonic(), os.getpid()
        if seconds == SOON:
            self._wanted = now
        elif now - self._looked < _spread(seconds):
            return
        if self._looks != process:
            self._looks, self._looked = process, now
            with suppress(RuntimeError):  # no more threads: the next request may have one
                Thread(target=self._look_on, args=(learn,), daemon=True).start()
                return
            self._looks = 0

    def _look_on(self, learn: Callable[[Server, float], None]) -> None:
        """Look for as long as somebody wants to know of what came after the last look."""
        try:
            asked = -math.inf
            while self._wanted >= asked:
                asked = self._looked = monotonic()
                if self._look():
                    learn(self, asked)
                sleep(_spread(SOON))
        finally:
            self._looks = 0

    def _look(self) -> bool:
        before = self.refused
        try:
            self.position = self.ask()
            self.refused = self.position is None
        except PoolTimeoutError:
            return False  # it is there, and busy
        except Exception:  # noqa: BLE001 - of drivers, of an application's `creator`
            self.refused = True
        if self.refused != before:
            logger.warning("%s: %s", self.name, "away" if self.refused else "there again")
        return not self.refused

    def ask(self) -> Position | None:
        """Ask it where it is; None for a replica that became a primary, or the reverse."""
        found = None
        with self.engine.connect() as connection:
            try:
                found = self._ask(connection.connection.driver_connection)
            finally:
                if found is None:
                    connection.invalidate()  # the next one may find another server
        return found

    def greet(self, connection: Any, record: ConnectionPoolEntry) -> None:
        """Learn from a new connection whether the server was started anew; listens to `connect`."""
        before, found = self.key, None
        with suppress(Exception):  # of any driver; a look will tell
            found = self._ask(connection)
        if found is None or self.key != before:
            self.position, self.fresh_at = found, -math.inf

    def _ask(self, connection: Any) -> Position | None:
        said = ask(connection, self.question)
        if said is None:
            return None
        position, _, self._started = said.partition(" ")
        return parse(position)
