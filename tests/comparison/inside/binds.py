"""Views that use a second database, and both."""

from __future__ import annotations

from typing import Any

from common import names
from kit import Side, attempt, fail, rows, view
from sqlalchemy import select, text

OTHER = "SELECT count(*) FROM note"


def notes(side: Side) -> list[str]:
    """Give the notes, as the session sees them."""
    return list(side.session.scalars(select(side.Note.name).order_by(side.Note.id)))


def put(side: Side) -> None:
    """Write into both databases and flush."""
    side.session.add_all([side.Item(name="here"), side.Note(name="there")])
    side.session.flush()


@view()
def both_committed(side: Side) -> Any:
    """Commit in both databases."""
    put(side)
    side.session.commit()
    return [names(side), notes(side)]


@view()
def both_failed(side: Side) -> None:
    """Read both, write both, and fail."""
    names(side)
    notes(side)
    put(side)
    fail()


@view()
def both_rolled_back(side: Side) -> Any:
    """Undo a savepoint and then everything in both databases."""
    nested = side.session.begin_nested()
    put(side)
    nested.rollback()
    put(side)
    side.session.rollback()
    return [names(side), notes(side)]


@view()
def read_here_write_there(side: Side) -> Any:
    """Read from one, write to the other, and commit."""
    name = names(side)[0]
    side.session.add(side.Note(name=name))
    side.session.commit()
    return notes(side)


@view()
def engine_of_the_other(side: Side) -> Any:
    """Use the other engine by hand: forgotten, committed, failed."""
    engine = side.db.engines["other"]
    with engine.connect() as connection:
        connection.execute(text("INSERT INTO note (id, name) VALUES (1, 'forgotten')"))
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO note (id, name) VALUES (2, 'kept')"))
    with engine.connect() as connection:
        told = attempt(connection.execute, text("SELECT nothing FROM note"))
    return [told, notes(side)]


@view()
def raw_on_the_other(side: Side) -> None:
    """Write raw on the session's connection of the other, and fail."""
    connection = side.session.connection(bind_arguments={"mapper": side.Note})
    cursor = connection.connection.cursor()
    cursor.execute("INSERT INTO note (id, name) VALUES (1, 'lost')")
    fail()


@view()
def text_on_the_other(side: Side) -> Any:
    """Write text to the other by naming its engine, and forget."""
    bind = {"bind": side.db.engines["other"]}
    insert = text("INSERT INTO note (id, name) VALUES (1, 'lost')")
    side.session.execute(insert, bind_arguments=bind)
    return rows(side.session.execute(text(OTHER), bind_arguments=bind))
