"""Views that use what MariaDB keeps for a transaction or a connection."""

from __future__ import annotations

from functools import partial
from typing import Any

from common import names
from kit import MARIADB, Side, attempt, fail
from kit import view as register
from sqlalchemy import Column, Integer, MetaData, Table, text

view = partial(register, on=(MARIADB,))
PUT = "INSERT INTO item (id, name) VALUES (3, 'three')"


@view()
def ddl_of_the_metadata(side: Side) -> Any:
    """Make a table by SQLAlchemy in the middle of a session's transaction, and fail."""
    side.session.execute(text(PUT))
    side.session.commit()
    Table("made_by_metadata", MetaData(), Column("id", Integer)).create(side.engine)
    fail()


@view()
def killed_in_the_view(side: Side) -> Any:
    """Lose the connection after a write, catch it, roll back and go on."""
    side.session.execute(text(PUT))
    number = side.session.scalar(text("SELECT connection_id()"))
    side.outside(f"KILL {number}")
    told = attempt(side.session.execute, text("DELETE FROM child"))
    side.session.rollback()
    return [told, names(side)]
