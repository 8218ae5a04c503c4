"""Views that ask for a level, for streams, for events, or for a session of their own."""

from __future__ import annotations

from typing import Any

from common import COUNT, RIVAL, SEE, names, put
from kit import MARIADB, POSTGRESQL, SERVERS, Side, attempt, fail, rows, view, word
from sqlalchemy import event, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker


@view(on=SERVERS)
def level_of_the_connection(side: Side) -> Any:
    """Ask for REPEATABLE READ, read twice around a rival, commit and read again."""
    side.session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
    told = [len(names(side)), side.outside(RIVAL), len(names(side))]
    side.session.commit()
    return [*told, len(names(side))]


@view(on=SERVERS)
def level_and_write(side: Side) -> Any:
    """Ask for SERIALIZABLE, write and fail to commit."""
    side.session.connection(execution_options={"isolation_level": "SERIALIZABLE"})
    put(side, "new")
    return side.session.connection().get_isolation_level()


@view()
def autocommit_of_the_connection(side: Side) -> Any:
    """Ask the session for AUTOCOMMIT, write and roll back."""
    side.session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
    put(side, "new")
    side.session.rollback()
    return names(side)


@view()
def autocommit_then_transaction(side: Side) -> Any:
    """Use AUTOCOMMIT, end it, and undo an ordinary transaction."""
    side.session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
    names(side)
    side.session.commit()
    put(side, "undone")
    side.session.rollback()
    return names(side)


@view()
def level_after_a_read(side: Side) -> Any:
    """Ask for a level when the transaction has begun."""
    names(side)
    options = {"isolation_level": "SERIALIZABLE"}
    return attempt(lambda: bool(side.session.connection(execution_options=options)))


@view()
def stream_results_of_the_connection(side: Side) -> Any:
    """Stream from the session's connection, write, and stream again."""
    connection = side.session.connection(execution_options={"stream_results": True})
    first = rows(connection.execute(select(side.Item.name).order_by(side.Item.id)))
    put(side, "new")
    again = len(rows(connection.execute(select(side.Item.name))))
    side.session.commit()
    return [first, again]


@view()
def after_commit_reads(side: Side) -> Any:
    """Read with another session as soon as the commit is done, and in after_rollback."""
    told: list[Any] = []

    def committed(_session: Any) -> None:
        with Session(side.engine) as other:
            told.append(rows(other.execute(SEE)))

    event.listen(side.session(), "after_commit", committed)
    put(side, "new")
    side.session.commit()
    return told


@view()
def before_flush_writes(side: Side) -> Any:
    """Add an object more in an event of the session."""

    def also(session: Any, *_rest: Any) -> None:
        if not any(one.name == "also" for one in session.new):
            session.add(side.Item(name="also"))

    event.listen(side.session(), "before_flush", also, once=True)
    put(side, "new")
    side.session.commit()
    return names(side)


@view()
def session_by_hand(side: Side) -> Any:
    """Use a session of one's own: forgotten, committed, failed."""
    with Session(side.engine) as own:
        own.add(side.Item(name="forgotten"))
        own.flush()
    with Session(side.engine) as own, own.begin():
        own.add(side.Item(name="kept"))
    try:
        with sessionmaker(side.engine).begin() as own:
            own.add(side.Item(name="failed"))
            own.flush()
            fail()
    except Exception as error:  # noqa: BLE001 - its name is the answer
        return [word(error), names(side)]


@view()
def session_on_a_connection(side: Side) -> Any:
    """Join a session into the outer transaction of a connection, and undo both."""
    with side.engine.connect() as connection:
        outer = connection.begin()
        with Session(connection, join_transaction_mode="create_savepoint") as own:
            own.add(side.Item(name="inner"))
            own.commit()
        inside = rows(connection.execute(SEE))
        outer.rollback()
    return [inside, names(side)]


@view(on=(POSTGRESQL, MARIADB))
def two_phase(side: Side) -> Any:
    """Commit a session in two phases."""
    try:
        with Session(side.engine, twophase=True) as own:
            own.add(side.Item(name="in two phases"))
            own.commit()
    except SQLAlchemyError as error:
        return word(error)
    return names(side)


@view()
def bind_by_argument(side: Side) -> Any:
    """Name the engine for one statement of the session."""
    statement = text("INSERT INTO item (id, name) VALUES (3, 'three')")
    side.session.execute(statement, bind_arguments={"bind": side.engine})
    return [len(names(side)), side.outside(COUNT)]
