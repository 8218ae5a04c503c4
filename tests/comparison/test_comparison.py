"""A view means what it means on plain Flask-SQLAlchemy: no difference, on three databases."""

from __future__ import annotations

import pytest
import servers
from faults.project import Project

from .compare import Result, compare


def nothing_differs(result: Result) -> None:
    """Fail with a table of every difference, if there is one."""
    if result.differences:
        pytest.fail(result.table(), pytrace=False)


@pytest.mark.project
def test_views_on_postgresql(project: Project, postgresql: servers.PostgreSQL) -> None:
    """Every view answers the same, leaves the same rows and leaves nothing to who comes next."""
    nothing_differs(compare(project, postgresql))


@pytest.mark.project
def test_views_on_mariadb(project: Project, mariadb: servers.MariaDB) -> None:
    """The same on MariaDB, where the plain application asks for READ COMMITTED too."""
    nothing_differs(compare(project, mariadb))


@pytest.mark.project
def test_views_on_sqlite(project: Project) -> None:
    """The same on SQLite; inside/recipe.py names what may differ there, how, and why."""
    nothing_differs(compare(project, None))


# what the level decides: the rest would only take time
THEMES = ("orm/", "levels/", "rivals/", "read", "rival", "loading/")


@pytest.mark.project
@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_views_at_a_level_on_postgresql(
    project: Project, postgresql: servers.PostgreSQL, level: str
) -> None:
    """A level in SQLALCHEMY_ENGINE_OPTIONS holds for every read of a view."""
    nothing_differs(compare(project, postgresql, "--level", level, *_only(THEMES)))


@pytest.mark.project
def test_views_at_a_level_on_mariadb(project: Project, mariadb: servers.MariaDB) -> None:
    """The same on MariaDB at REPEATABLE READ."""
    nothing_differs(compare(project, mariadb, "--level", "REPEATABLE READ", *_only(THEMES)))


@pytest.mark.project
def test_views_at_the_level_of_the_database(
    project: Project, postgresql: servers.PostgreSQL
) -> None:
    """A level that the database itself was given holds for every read of a view."""
    options = ("--database-level", "repeatable read", *_only(THEMES))
    nothing_differs(compare(project, postgresql, *options))


def _only(parts: tuple[str, ...]) -> list[str]:
    return [word for part in parts for word in ("--only", part)]
