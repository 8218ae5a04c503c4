"""Views that use what MariaDB keeps for a transaction or a connection."""

from __future__ import annotations

from functools import partial
from typing import Any

from common import names
from kit import MARIADB, Side, attempt, fail, rows
from kit import view as register
from sqlalchemy import Column, Integer, MetaData, Table, func, select, text

view = partial(register, on=(MARIADB,))
PUT = "INSERT INTO item (id, name) VALUES (3, 'three')"


@view()
def lock_by_func(side: Side) -> Any:
    """Hold a named lock by func, over a rollback, and release it."""
    name = func.concat(func.database(), ".a")
    seen = "SELECT is_used_lock(concat(database(), '.a')) IS NULL"
    got = side.session.scalar(select(func.get_lock(name, 0)))
    side.session.rollback()
    told = side.outside(seen)
    freed = side.session.scalar(select(func.release_lock(name)))
    return [got, told, freed, side.outside(seen)]


@view()
def last_insert_id(side: Side) -> Any:
    """Ask for the last number in the statement after the insert."""
    side.session.execute(text("INSERT INTO item (name) VALUES ('new')"))
    own = side.session.scalar(text("SELECT last_insert_id()"))
    same = side.session.scalar(text("SELECT id FROM item WHERE name = 'new'"))
    side.session.commit()
    return [own == same, own == side.session.scalar(select(func.last_insert_id()))]


@view()
def user_variable(side: Side) -> Any:
    """Set a variable in one statement, and use it in the next two."""
    side.session.execute(text("SELECT @mark := 40"))
    side.session.execute(text("SET @mark = @mark + 2"))
    told = side.session.scalar(text("SELECT @mark"))
    side.session.execute(text("SET @mark = NULL"))
    return told


@view()
def ddl_commits(side: Side) -> Any:
    """Write, make a table, write again and roll back: what was first stays."""
    side.session.execute(text(PUT))
    side.session.execute(text("CREATE TABLE made (id INT)"))
    side.session.execute(text("INSERT INTO item (id, name) VALUES (4, 'four')"))
    side.session.rollback()
    return names(side)


@view()
def ddl_of_the_metadata(side: Side) -> Any:
    """Make a table by SQLAlchemy in the middle of a session's transaction, and fail."""
    side.session.execute(text(PUT))
    side.session.commit()
    Table("made_by_metadata", MetaData(), Column("id", Integer)).create(side.engine)
    fail()


@view()
def snapshot_by_hand(side: Side) -> Any:
    """Read a consistent snapshot while somebody else writes, end it and read again."""
    side.session.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
    side.session.execute(text("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"))
    told = side.outside("INSERT INTO item (id, name) VALUES (4, 'rival')")
    first = len(names(side))
    side.session.rollback()
    return [told, first, len(names(side))]


@view()
def temporary_table(side: Side) -> Any:
    """Fill a temporary table from a read, use it twice and drop it."""
    side.session.execute(text("CREATE TEMPORARY TABLE made_temp AS SELECT id FROM item"))
    first = rows(side.session.execute(text("SELECT count(*) FROM made_temp")))
    side.session.execute(text(PUT))
    side.session.rollback()
    told = attempt(lambda: rows(side.session.execute(text("SELECT count(*) FROM made_temp"))))
    side.session.execute(text("DROP TEMPORARY TABLE IF EXISTS made_temp"))
    return [first, told, names(side)]


@view()
def lock_tables_of_the_session(side: Side) -> Any:
    """Lock a table, write, unlock, and commit."""
    side.session.execute(text("LOCK TABLES item WRITE"))
    told = side.outside("SELECT count(*) FROM item")
    side.session.execute(text(PUT))
    side.session.commit()
    side.session.execute(text("UNLOCK TABLES"))
    return [told, names(side)]


@view()
def killed_in_the_view(side: Side) -> Any:
    """Lose the connection after a write, catch it, roll back and go on."""
    side.session.execute(text(PUT))
    number = side.session.scalar(text("SELECT connection_id()"))
    side.outside(f"KILL {number}")
    told = attempt(side.session.execute, text("DELETE FROM child"))
    side.session.rollback()
    return [told, names(side)]
