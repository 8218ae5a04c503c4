"""Views that hold several connections of the engine, or treat them badly."""

from __future__ import annotations

from typing import Any

from common import PUT, SEE, THREE, names
from kit import SERVERS, Side, attempt, rows, view


@view()
def two_connections(side: Side) -> Any:
    """Hold two connections: one commits, one does not."""
    with side.engine.connect() as first, side.engine.connect() as second:
        before = [rows(first.execute(SEE)), rows(second.execute(SEE))]
        first.rollback()
        second.execute(PUT, THREE)
        second.commit()
        return [before, rows(first.execute(SEE)), side.session.scalar(SEE)]


@view(on=("postgresql",), ways=("GET", "POST"))
def three_that_write(side: Side) -> Any:
    """Write on three connections at once; the session's is the last to commit."""
    side.session.execute(PUT, {"id": 30, "name": "session"})
    with side.engine.begin() as first:
        first.execute(PUT, {"id": 31, "name": "begun"})
        with side.engine.connect() as second:
            second.execute(PUT, {"id": 32, "name": "forgotten"})
        seen = rows(first.execute(SEE))
    side.session.commit()
    return [seen, names(side)]


@view(on=SERVERS, ways=("GET",))
def too_many_open(side: Side) -> Any:
    """Open connections until the pool has no more, catching its error."""
    opened: list[Any] = []
    told = ""
    while not told and len(opened) < 12:
        one = attempt(side.engine.connect)
        if isinstance(one, str):
            told = one
        else:
            opened.append(one)
    for one in opened:
        one.close()
    return [len(opened), told]


@view()
def closed_twice(side: Side) -> Any:
    """Close, detach and invalidate connections, and use them after that."""
    first, second, third = (side.engine.connect() for _ in range(3))
    first.close()
    first.close()
    second.detach()
    told = [attempt(first.execute, SEE), attempt(second.execute, SEE)]
    second.close()
    third.execute(PUT, THREE)
    third.invalidate()
    told.append(attempt(third.execute, SEE))
    third.close()
    return [*told, names(side)]
