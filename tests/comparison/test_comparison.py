"""A view means what it means on plain Flask-SQLAlchemy: no difference, on three databases."""

from __future__ import annotations

import pytest
import servers

from .compare import Result, compare


def nothing_differs(result: Result) -> None:
    """Fail with a table of every difference, if there is one."""
    if result.differences:
        pytest.fail(result.table(), pytrace=False)


def test_views_on_postgresql(postgresql: servers.PostgreSQL) -> None:
    """Every view answers the same, leaves the same rows and leaves nothing to who comes next."""
    nothing_differs(compare(postgresql))


def test_views_on_mariadb(mariadb: servers.MariaDB) -> None:
    """The same on MariaDB, at the server's own isolation level."""
    nothing_differs(compare(mariadb))


def test_views_on_sqlite() -> None:
    """The same on SQLite, where both sides check foreign keys and keep a write-ahead log."""
    nothing_differs(compare(None))


# what the level decides: the rest would only take time
THEMES = ("orm/", "levels/", "rivals/", "read", "rival", "loading/")


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_views_at_a_level_on_postgresql(postgresql: servers.PostgreSQL, level: str) -> None:
    """A level in SQLALCHEMY_ENGINE_OPTIONS holds for every read of a view."""
    nothing_differs(compare(postgresql, "--level", level, *_only(THEMES)))


def test_views_at_a_level_on_mariadb(mariadb: servers.MariaDB) -> None:
    """The same on MariaDB at REPEATABLE READ."""
    nothing_differs(compare(mariadb, "--level", "REPEATABLE READ", *_only(THEMES)))


def test_views_at_the_level_of_the_database(postgresql: servers.PostgreSQL) -> None:
    """A level that the database itself was given holds for every read of a view."""
    options = ("--database-level", "repeatable read", *_only(THEMES))
    nothing_differs(compare(postgresql, *options))


def _only(parts: tuple[str, ...]) -> list[str]:
    return [word for part in parts for word in ("--only", part)]
