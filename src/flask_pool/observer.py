"""The interface through which the pool reports what happens, for example to metrics."""

from __future__ import annotations

from typing import Any


class Observer:
    """Called when something happens, in the thread in which it happens; override what you need.

    `pool` is the FairQueuePool that calls. Times are seconds. A method must neither raise nor use
    the pool's connections.
    """

    def started(self, pool: Any) -> None:
        """A process is about to serve; its pool may be filled by now."""

    def connected(self, pool: Any, seconds: float) -> None:
        """A connection was opened, in this time."""

    def closed(self, pool: Any) -> None:
        """Connections of the pool were closed."""

    def queued(self, pool: Any) -> None:
        """A thread begins to wait for a connection."""

    def checked_out(self, pool: Any, waited: float) -> None:
        """A connection was handed out, after this wait."""

    def timed_out(self, pool: Any, waited: float) -> None:
        """A thread got no connection, after this wait."""

    def checked_in(self, pool: Any, used: float) -> None:
        """A connection came back, after this use."""

    def released(self, pool: Any, route: str, held: float) -> None:
        """A connection came back that a request of this route ("": none) held for this time."""

    def replaced(self, pool: Any, reason: str) -> None:
        """A connection is replaced: `recycled` by age, `dead` when looked at, `died` in use."""

    def held(self, pool: Any, route: str) -> None:
        """A connection has been out for longer than POOL_HELD_WARNING, taken by this route."""

    def leaked(self, pool: Any, taker: str) -> None:
        """A request has ended that took a connection at this line and never returned it."""

    def retried(self) -> None:
        """A read is run once more, as its connection died."""

    def unavailable(self, reason: str) -> None:
        """A request was answered with 503, for one of `errors.REASONS`."""
