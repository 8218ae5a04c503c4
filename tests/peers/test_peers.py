"""What SQLAlchemy asks of its pool, and Flask-SQLAlchemy of itself, holds with ours."""

from __future__ import annotations

import pytest

from . import suites
from .conftest import Install


@pytest.mark.parametrize("resolution", ["lowest", "newest"])
def test_the_pool_passes_the_tests_of_sqlalchemy(install: Install, resolution: str) -> None:
    """All but those that are left out by name, on both lines of SQLAlchemy."""
    environment = install(resolution)
    line = {"lowest": "2.0.", "newest": "2.1."}[resolution]
    assert environment.version("sqlalchemy").startswith(line)
    source = environment.source("sqlalchemy")
    arguments = suites.pool_tests(source, environment.package)
    outcome = suites.run(environment.python, source, arguments, environment.package)
    assert not outcome.failed
    assert len(outcome.passed) > 120


def test_the_extension_changes_nothing_for_flask_sqlalchemy(install: Install) -> None:
    """What passes on the plain extension passes with the pool, and no test waits for it."""
    environment = install("2.0")
    source = environment.source("flask-sqlalchemy")
    plain, pooled = (
        suites.run(
            environment.python, source, bend(source, environment.package), environment.package
        )
        for bend in (suites.plain_tests, suites.extension_tests)
    )
    assert len(plain.passed) > 400  # of 452; the others do not suit newer Pythons or SQLAlchemy
    assert pooled.seconds.keys() == plain.seconds.keys()
    assert pooled.passed >= plain.passed
    # a checkout that waits for a connection does so for 30 seconds
    assert max(pooled.seconds.values()) < 15
