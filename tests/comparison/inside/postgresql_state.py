"""Views that use what PostgreSQL keeps for a transaction or a connection."""

from __future__ import annotations

from functools import partial
from typing import Any

from common import SEE, names
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
def set_config_committed(side: Side) -> Any:
    """Set a value for the connection, commit it, and take it back."""
    side.session.execute(text("SELECT set_config('app.tenant', '7', false)"))
    side.session.commit()
    asked = text("SELECT current_setting('app.tenant', true)")
    told = side.session.scalar(asked)
    side.session.execute(text("SELECT set_config('app.tenant', '', false)"))
    side.session.commit()
    return told


@view()
def row_level_security(side: Side) -> Any:
    """Read as a tenant whose rows the policy shows."""
    side.session.execute(select(func.set_config("app.tenant", "8", True)))
    side.session.execute(text("SET LOCAL ROLE tenant"))
    return rows(side.session.execute(text("SELECT note FROM secret")))


@view()
def advisory_lock_by_func(side: Side) -> Any:
    """Hold a transaction's lock by func until the commit."""
    seen = "SELECT pg_try_advisory_xact_lock(5)"
    side.session.execute(select(func.pg_advisory_xact_lock(5)))
    told = [side.outside(seen), len(names(side)), side.outside(seen)]
    side.session.commit()
    return [*told, side.outside(seen)]


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
def now_twice(side: Side) -> Any:
    """Ask for the transaction's time and number, twice."""
    asked = select(func.now(), func.txid_current())
    first = side.session.execute(asked).one()
    side.session.execute(text("SELECT pg_sleep(0.002)"))
    return first == side.session.execute(asked).one()


@view()
def now_of_a_column(side: Side) -> Any:
    """Find the transaction's time unchanged by a read and a write."""
    first = side.session.scalar(select(func.current_timestamp()))
    names(side)
    side.session.add(side.Item(name="new"))
    side.session.flush()
    return first == side.session.scalar(text("SELECT transaction_timestamp()"))


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
def commit_refused(side: Side) -> Any:
    """Have the commit itself refused by a deferred constraint, and go on."""
    side.session.execute(text("INSERT INTO late VALUES (1, 999)"))
    told = attempt(side.session.commit)
    side.session.rollback()
    return [told, names(side)]


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


@view()
def large_object(side: Side) -> Any:
    """Make a large object, read it through a descriptor, and forget it."""
    number = side.session.scalar(text("SELECT lo_from_bytea(0, 'abc')"))
    opened = text("SELECT loread(lo_open(:number, 262144), 3)")
    return bytes(side.session.scalar(opened, {"number": number})).decode()
