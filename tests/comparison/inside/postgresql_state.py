"""Views that use what PostgreSQL keeps for a transaction or a connection."""

from __future__ import annotations

from functools import partial
from typing import Any

from common import SEE
from kit import POSTGRESQL, Side, attempt, rows
from kit import view as register
from sqlalchemy import Sequence, func, select, text
from sqlalchemy.orm import Session

view = partial(register, on=(POSTGRESQL,))


@view()
def set_config_by_func(side: Side) -> Any:
    """Set the tenant by func for the transaction, ask for it, and for it after the commit."""
    side.session.execute(select(func.set_config("app.tenant", "7", True)))
    asked = select(func.coalesce(func.current_setting("app.tenant", True), ""))
    inside = side.session.scalar(asked)
    side.session.commit()
    return [inside, side.session.scalar(asked)]


@register(on=(POSTGRESQL,), ways=("GET", "POST"), times=2)
def set_config_and_the_next_request(side: Side) -> Any:
    """Find what the last request set for its connection without a commit: nothing."""
    asked = select(func.coalesce(func.current_setting("app.tenant", True), ""))
    before = side.session.scalar(asked)
    side.session.execute(select(func.set_config("app.tenant", "7", False)))
    return [before, side.session.scalar(asked)]


@view()
def sequence_by_python(side: Side) -> Any:
    """Take numbers of a sequence in three ways, and roll back."""
    numbers = Sequence("numbers")
    told = [
        side.session.scalar(select(numbers.next_value())),
        side.session.scalar(numbers),
        side.session.scalar(select(func.nextval("numbers"))),
    ]
    side.session.rollback()
    return told


@view()
def snapshot_of_two(side: Side) -> Any:
    """Share an exported snapshot with another connection."""
    side.session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
    name = side.session.scalar(text("SELECT pg_export_snapshot()"))
    told = side.outside("INSERT INTO item (id, name) VALUES (4, 'rival')")
    with side.engine.connect().execution_options(isolation_level="REPEATABLE READ") as other:
        attempt(other.exec_driver_sql, f"SET TRANSACTION SNAPSHOT '{name}'")
        return [told, rows(other.execute(SEE)), rows(side.session.execute(SEE))]


@view()
def read_only_option(side: Side) -> Any:
    """Use psycopg's options of a read-only, deferrable transaction, and try to write."""
    with side.engine.connect() as connection:
        connection.execution_options(
            isolation_level="SERIALIZABLE", postgresql_readonly=True, postgresql_deferrable=True
        )
        told = [rows(connection.execute(SEE))]
        told.append(attempt(connection.execute, text("DELETE FROM child")))
    with Session(side.engine) as after:
        return [*told, attempt(after.execute, text("DELETE FROM child")) and "may write"]


@view()
def notifies(side: Side) -> Any:
    """Listen and notify on one connection: only a commit delivers."""
    with side.engine.connect() as connection:
        connection.execute(text("LISTEN word"))
        connection.commit()
        driver = connection.connection.driver_connection
        told = []
        for end in (connection.rollback, connection.commit):
            connection.execute(text("SELECT pg_notify('word', 'x')"))
            end()
            told.append([one.payload for one in driver.notifies(timeout=0.02)])
        connection.execute(text("UNLISTEN *"))
        connection.commit()
    return told
