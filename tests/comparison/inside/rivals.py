"""Views that meet another transaction: locks, snapshots."""

from __future__ import annotations

from typing import Any

from common import AFTER, SEE, names
from kit import SERVERS, Side, attempt, rows, view
from sqlalchemy import select
from sqlalchemy.orm import Session


@view(on=SERVERS)
def for_update_skips(side: Side) -> Any:
    """Skip the row that another session has locked, and meet it without waiting."""
    with Session(side.engine) as other:
        other.execute(select(side.Item).where(side.Item.id == 1).with_for_update())
        free = select(side.Item.id).with_for_update(skip_locked=True)
        told = [rows(side.session.execute(free))]
        taken = select(side.Item.id).where(side.Item.id == 1).with_for_update(nowait=True)
        told.append(attempt(side.session.scalar, taken))
    return told


@view(on=SERVERS)
def rival_of_the_same_engine(side: Side) -> Any:
    """Read twice while the engine commits a write in between."""
    before = names(side)
    with side.engine.begin() as connection:
        connection.execute(AFTER)
    return [before, names(side)]


@view(on=SERVERS)
def own_write_is_not_seen(side: Side) -> Any:
    """Write by the session and look through another connection before the commit."""
    side.session.execute(AFTER)
    with side.engine.connect() as connection:
        before = rows(connection.execute(SEE))
    side.session.commit()
    return [before, names(side)]


@view(on=SERVERS)
def lost_update_is_refused(side: Side) -> Any:
    """Read at REPEATABLE READ, have a rival change the row, and write it."""
    side.session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
    item = side.session.get(side.Item, 1)
    told = side.outside("UPDATE item SET value = 99 WHERE id = 1")
    item.value += 1
    committed = attempt(side.session.commit)
    side.session.rollback()
    return [told, committed, side.session.get(side.Item, 1).value]
