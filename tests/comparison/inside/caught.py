"""Views that meet an error: caught, half caught, or left to the application's own handlers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from common import names, put
from kit import Side, View, add, attempt, fail, view, word
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, ProgrammingError


def typo(side: Side) -> Any:
    """Name a column that is not there."""
    return side.session.scalar(text("SELECT nothing FROM item"))


def missing_table(side: Side) -> Any:
    """Name a table that is not there."""
    return side.session.scalar(text("SELECT 1 FROM nowhere"))


def syntax(side: Side) -> Any:
    """Send what is no SQL."""
    return side.session.execute(text("SELEC 1"))


def duplicate(side: Side) -> None:
    """Add what is there."""
    put(side, "one")


def not_null(side: Side) -> None:
    """Leave out what is needed."""
    side.session.execute(text("INSERT INTO item (id, name) VALUES (3, NULL)"))


def too_few(side: Side) -> Any:
    """Bind nothing to a parameter."""
    return side.session.execute(text("SELECT :missing"))


def wrong_type(side: Side) -> None:
    """Bind what the driver does not know."""
    side.session.execute(text("SELECT :value"), {"value": object()})


def not_one(side: Side) -> Any:
    """Ask for exactly one of two."""
    return side.session.scalars(select(side.Item)).one()


def no_rows(side: Side) -> Any:
    """Read rows of what gives none."""
    return side.session.execute(text("UPDATE item SET value = 5 WHERE id = 1")).all()


def closed(side: Side) -> Any:
    """Use a connection after it was closed."""
    connection = side.engine.connect()
    connection.close()
    return connection.execute(text("SELECT 1"))


def write_then_typo(side: Side) -> Any:
    """Write, then name a column that is not there."""
    put(side, "lost")
    return typo(side)


def commit_then_typo(side: Side) -> Any:
    """Commit, then name a column that is not there."""
    put(side, "kept")
    side.session.commit()
    return typo(side)


def typo_of_the_engine(side: Side) -> None:
    """Name a column that is not there in a transaction of the engine."""
    with side.engine.begin() as connection:
        connection.execute(text("INSERT INTO item (id, name) VALUES (3, 'lost')"))
        connection.execute(text("SELECT nothing FROM item"))


def raised_by_hand(side: Side) -> None:
    """Raise SQLAlchemy's OperationalError without any database."""
    raise OperationalError("none", None, Exception("by hand"))


def deliberate(side: Side) -> None:
    """Write, then raise the application's own error."""
    put(side, "lost")
    fail()


TROUBLES: tuple[Callable[[Side], Any], ...] = (
    typo, missing_table, syntax, duplicate, not_null, too_few, wrong_type, not_one, no_rows, closed,
    write_then_typo, commit_then_typo, typo_of_the_engine, raised_by_hand, deliberate,
)  # fmt: skip
HANDLERS = (
    "OperationalError", "ProgrammingError", "DBAPIError", "SQLAlchemyError", "IntegrityError",
    "Exception", "500", "Deliberate",
)  # fmt: skip


def goes_on(side: Side, trouble: Callable[[Side], Any]) -> Any:
    """Catch the error, go on reading and writing, and commit."""
    told = [caught_by_class(trouble, side), attempt(names, side), attempt(put, side, "after")]
    return [*told, attempt(side.session.commit), attempt(names, side)]


def rolls_back(side: Side, trouble: Callable[[Side], Any]) -> Any:
    """Read first, catch the error, roll back, write and commit."""
    before = names(side)
    told = caught_by_class(trouble, side)
    side.session.rollback()
    put(side, "after")
    side.session.commit()
    return [before, told, names(side)]


def in_a_savepoint(side: Side, trouble: Callable[[Side], Any]) -> Any:
    """Meet the error in a savepoint, write and commit."""
    told = None
    try:
        with side.session.begin_nested():
            trouble(side)
    except Exception as error:  # noqa: BLE001 - its name is the answer
        told = word(error)
    told = [told, attempt(put, side, "after"), attempt(side.session.commit)]
    side.session.rollback()
    return [*told, names(side)]


def answers_itself(side: Side, trouble: Callable[[Side], Any]) -> Any:
    """Turn the error into an answer of the view's own."""
    try:
        trouble(side)
    except Exception as error:  # noqa: BLE001 - its name is the answer
        return {"error": word(error)}, 409
    return {"error": None}, 200


def caught_by_class(trouble: Callable[[Side], Any], side: Side) -> str:
    """Catch as careful views do, and tell which clause it was."""
    try:
        trouble(side)
    except IntegrityError as error:
        return f"integrity: {word(error)}"
    except (OperationalError, ProgrammingError) as error:
        return f"driver: {word(error)}"
    except DBAPIError as error:
        return f"other: {word(error)}, {error.connection_invalidated}"
    except Exception as error:  # noqa: BLE001 - its name is the answer
        return word(error)
    return "nothing"


def register() -> None:
    """Make a view of every trouble: uncaught, caught in each way, and with each handler."""
    for trouble in TROUBLES:
        add(View(f"caught/{trouble.__name__}", trouble))
        for way in (goes_on, rolls_back, in_a_savepoint, answers_itself):
            ways = ("GET", "POST") if way is answers_itself else ("GET", "POST", "CONTEXT")
            add(
                View(
                    f"caught/{trouble.__name__}@{way.__name__}",
                    lambda side, w=way, t=trouble: w(side, t),
                    ways=ways,
                )
            )
        for handler in HANDLERS:
            add(
                View(
                    f"caught/{trouble.__name__}@{handler}",
                    trouble,
                    ways=("GET", "POST"),
                    handles=handler,
                )
            )


register()


@view(ways=("GET", "POST"), handles="SQLAlchemyError")
def fine_with_a_handler(side: Side) -> Any:
    """Do nothing wrong where a handler waits."""
    put(side, "kept")
    side.session.commit()
    return names(side)
