"""Views that steer the session's transaction by hand."""

from __future__ import annotations

from typing import Any

from common import COUNT, names, put
from kit import Side, attempt, fail, view, word
from sqlalchemy.exc import IntegrityError


@view()
def explicit_begin_and_fail(side: Side) -> None:
    """Fail in an explicit transaction."""
    with side.session.begin():
        put(side, "new")
        fail()


@view()
def begin_after_a_read(side: Side) -> Any:
    """Begin by hand where a read has begun already."""
    names(side)
    return attempt(side.session.begin)


@view()
def in_transaction(side: Side) -> Any:
    """Ask the session whether it is in a transaction, at four points."""
    told = [side.session.in_transaction()]
    names(side)
    told.append(side.session.in_transaction())
    side.session.commit()
    told.append(side.session.in_transaction())
    with side.session.begin():
        told += [side.session.in_transaction(), side.session.connection().in_transaction()]
    return told


@view()
def nested_after_a_read(side: Side) -> Any:
    """Read, then undo a savepoint and commit what is around it."""
    before = names(side)
    with side.session.begin_nested() as nested:
        put(side, "inner")
        nested.rollback()
    put(side, "outer")
    side.session.commit()
    return [before, names(side)]


@view()
def nested_first(side: Side) -> Any:
    """Begin with a savepoint, release it, and never commit."""
    with side.session.begin_nested():
        put(side, "inner")
    return [names(side), side.outside(COUNT)]


@view()
def nested_in_nested(side: Side) -> Any:
    """Undo the inner of two savepoints, keep the outer, commit."""
    with side.session.begin_nested():
        put(side, "outer")
        inner = side.session.begin_nested()
        put(side, "inner")
        inner.rollback()
        put(side, "after")
    side.session.commit()
    return names(side)


@view()
def nested_without_a_write(side: Side) -> Any:
    """Open savepoints that only read."""
    with side.session.begin_nested():
        first = names(side)
    nested = side.session.begin_nested()
    nested.rollback()
    return [first, names(side)]


@view()
def nested_duplicate(side: Side) -> Any:
    """Try to add what is there in a savepoint, catch it and go on, three times."""
    told = []
    for name in ("one", "new", "two"):
        try:
            with side.session.begin_nested():
                put(side, name)
        except IntegrityError as error:
            told.append(word(error))
    side.session.commit()
    return [told, names(side)]


@view()
def nested_of_a_connection(side: Side) -> Any:
    """Use a savepoint of the session's connection."""
    connection = side.session.connection()
    nested = connection.begin_nested()
    put(side, "inner")
    nested.rollback()
    put(side, "outer")
    side.session.commit()
    return names(side)


@view()
def close_and_go_on(side: Side) -> Any:
    """Close the session in the middle and use it again."""
    put(side, "lost")
    side.session.close()
    put(side, "kept")
    side.session.commit()
    return names(side)


@view()
def remove_and_go_on(side: Side) -> Any:
    """Remove the session in the middle and use the next one."""
    first = side.session()
    put(side, "lost")
    side.session.remove()
    put(side, "kept")
    side.session.commit()
    return [first is side.session(), names(side)]


@view()
def reset_and_invalidate(side: Side) -> Any:
    """Invalidate the session's connection and go on with another."""
    put(side, "lost")
    side.session.invalidate()
    put(side, "kept")
    side.session.commit()
    return names(side)


@view()
def commit_twice(side: Side) -> Any:
    """Commit nothing, something, nothing; roll back nothing."""
    side.session.commit()
    put(side, "new")
    side.session.commit()
    side.session.commit()
    side.session.rollback()
    return names(side)
