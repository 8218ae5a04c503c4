"""No project can be named like something that it installs or has as a folder."""

from __future__ import annotations

import importlib.metadata
import re
import sys
from collections.abc import Iterator
from typing import Any

from bake import BakedProject
from conftest import Checks
from packaging.requirements import Requirement
from parses import toml


def requirements(project: BakedProject) -> Iterator[str]:
    """Yield every requirement of the project: its own, its extras', its tools' and its build's."""
    settings = toml(project)
    yield from settings["project"]["dependencies"]
    for extra in settings["project"].get("optional-dependencies", {}).values():
        yield from extra
    for group in settings.get("dependency-groups", {}).values():
        yield from (entry for entry in group if isinstance(entry, str))
    yield from settings["build-system"]["requires"]
    for environment in settings["tool"]["tox"].get("env", {}).values():
        yield from environment.get("deps", [])


def normal(name: str) -> str:
    """Return the spelling of a distribution's name that the package index compares."""
    return re.sub("[-_.]+", "-", name).lower()


def installed(wanted: set[tuple[str, str]]) -> set[str]:
    """Return the names of these distributions and extras, and of all that they need."""
    seen: set[tuple[str, str]] = set()
    while wanted - seen:
        name, extra = (wanted - seen).pop()
        seen.add((name, extra))
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for need in map(Requirement, needs):
            if need.marker is None or need.marker.evaluate({"extra": extra}):
                wanted |= {(normal(need.name), more) for more in ("", *need.extras)}
    return {name for name, _ in seen}


def test_nothing_that_a_project_installs_can_be_its_name(
    default_project: BakedProject, hook_checks: Checks
) -> None:
    """Distributions and the modules in them, with what those need, as far as installed here."""
    wanted = set()
    for requirement in map(Requirement, requirements(default_project)):
        if normal(requirement.name) != normal(default_project.slug):
            wanted |= {(normal(requirement.name), extra) for extra in ("", *requirement.extras)}
    names = installed(wanted)
    assert {"flask", "werkzeug", "sqlalchemy", "psycopg-binary", "pluggy", "hatchling"} <= names
    modules = {
        module.lower()
        for module, owners in importlib.metadata.packages_distributions().items()
        if names & {normal(owner) for owner in owners}
    }
    slugs = {name.replace("-", "_") for name in names} | modules
    possible = {slug for slug in slugs if re.fullmatch("[a-z][a-z0-9_]*", slug)}
    assert {slug for slug in possible if not hook_checks["project_slug"](slug)} == set()


def test_no_folder_of_a_project_can_be_its_name(
    default_project: BakedProject, hook_checks: Checks
) -> None:
    """A package beside a folder of the same name would hide one of them."""
    package = default_project.path / "src" / default_project.slug
    folders = [path for parent in (default_project.path, package) for path in parent.iterdir()]
    names = {path.name for path in folders if path.is_dir()} | {"instance", "dist", "build", "docs"}
    possible = {name for name in names if re.fullmatch("[a-z]+", name)}
    assert {name for name in possible if not hook_checks["project_slug"](name)} == set()


def test_no_standard_module_can_be_its_name(hook_checks: Checks) -> None:
    """`import logging` would find the project."""
    names = {name for name in sys.stdlib_module_names if name.islower() and name[0] != "_"}
    assert {name for name in names if not hook_checks["project_slug"](name)} == set()


def test_the_lists_of_names_are_sorted(hook: dict[str, Any]) -> None:
    """So that a name is found, and added, at one place only."""
    for names in (hook["TAKEN"], hook["SOMETIMES_STANDARD"]):
        assert list(names) == sorted(set(names))


def test_ordinary_names_are_accepted(hook_checks: Checks) -> None:
    """The lists take no more than they must."""
    names = ("shop", "my_flask", "flask_shop", "users", "a", "a1", "app", "service", "x" * 80)
    assert [name for name in names if hook_checks["project_slug"](name)] == []
