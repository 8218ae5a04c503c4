"""requirements.txt follows pyproject.toml."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

PROJECT = Path(__file__).parents[1]


def test_every_dependency_is_locked_at_a_version_that_it_accepts() -> None:
    """What builds the package too; if this fails: make lock."""
    settings = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    lock = (PROJECT / "requirements.txt").read_text(encoding="utf-8")
    locked = dict(re.findall(r"^([a-z0-9-]+)==([^ ]+)", lock, re.MULTILINE))

    wanted = settings["project"]["dependencies"] + settings["build-system"]["requires"]
    for requirement in map(Requirement, wanted):
        if requirement.url is None:  # the library's wheel is locked in vendor/
            version = locked.get(requirement.name.lower(), "0")
            assert version in requirement.specifier, f"{requirement} is locked at {version}"


def test_what_builds_the_package_is_named_once() -> None:
    """The group `build`, which is locked, is what pip would take to build it."""
    settings = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))

    assert settings["dependency-groups"]["build"] == settings["build-system"]["requires"]
