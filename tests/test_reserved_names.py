"""No project can be named like something that it installs or has as a folder."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest
from bake import BakedProject
from conftest import Bake, Checks
from parses import toml

LIST_NAMES = """
from importlib.metadata import distributions, packages_distributions
print(*packages_distributions(), *(found.metadata["Name"] for found in distributions()))
"""


@pytest.mark.project
def test_nothing_that_a_project_installs_can_be_its_name(bake: Bake, hook_checks: Checks) -> None:
    """Neither a distribution nor a module of one: a project with all extras is installed."""
    project = bake()
    settings = toml(project)
    everything = f".[{','.join(settings['project']['optional-dependencies'])}]"
    uv, python = (sys.executable, "-m", "uv"), ("--python", ".venv/bin/python")
    project.run(*uv, "venv", "--quiet", "--python", sys.executable, ".venv")
    project.run(*uv, "pip", "install", *python, everything, *settings["build-system"]["requires"])
    names = project.run(".venv/bin/python", "-c", LIST_NAMES).stdout.split()
    slugs = {re.sub("[-.]", "_", name).lower() for name in names} - {project.slug}
    assert {"flask", "werkzeug", "psycopg_binary", "pluggy", "hatchling"} <= slugs
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


def test_the_list_of_names_is_sorted(hook: dict[str, Any]) -> None:
    """So that a name is found, and added, at one place only."""
    assert hook["TAKEN"] == sorted(set(hook["TAKEN"]))


def test_no_name_of_another_python_can_be_its_name(hook_checks: Checks) -> None:
    """The service may move to a Python that has a word or a module which this one has not."""
    names = ("type", "lazy", "match", "tomllib", "annotationlib", "compression", "distutils", "imp")
    assert [name for name in names if not hook_checks["project_slug"](name)] == []


def test_ordinary_names_are_accepted(hook_checks: Checks) -> None:
    """The lists take no more than they must."""
    names = ("shop", "my_flask", "flask_shop", "users", "a", "a1", "app", "service", "x" * 80)
    assert [name for name in names if hook_checks["project_slug"](name)] == []
