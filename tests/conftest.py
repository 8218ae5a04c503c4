"""What all tests of the template share: a private home for tools, and `bake`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
from bake import ROOT, BakedProject, bake_into, copy_template
from faults.project import Project, install
from hypothesis import HealthCheck, settings

pytest_plugins = ["fixtures_servers"]

# a machine with much to do is no fault of what is tested
settings.register_profile(
    "patient", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("patient")

Checks = dict[str, Callable[[str], str]]

GIT_CONFIG = """\
[user]
    name = A Tester
    email = tester@example.com
[init]
    defaultBranch = main
"""


class Bake(Protocol):
    """Bakes a project with these answers and the defaults of all others."""

    def __call__(self, **answers: str) -> BakedProject:
        """Return the project; raise Refused if an answer is not accepted."""


@pytest.fixture(autouse=True, scope="session")
def private_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep cookiecutter's copies of answers, and the user's git settings, out of the tests."""
    home = tmp_path_factory.mktemp("home")
    (home / "cookiecutter.yaml").write_text(
        f"replay_dir: {home / 'replay'}\ncookiecutters_dir: {home / 'cookiecutters'}\n"
    )
    (home / "gitconfig").write_text(GIT_CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COOKIECUTTER_CONFIG", str(home / "cookiecutter.yaml"))
        patch.setenv("GIT_CONFIG_GLOBAL", str(home / "gitconfig"))
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        yield home


@pytest.fixture(scope="session")
def template(private_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a git repository that holds the template alone, in one commit."""
    return copy_template(tmp_path_factory.mktemp("template") / "flask-pool")


@pytest.fixture
def bake(template: Path, tmp_path: Path) -> Bake:
    """Return a function that bakes the template into this test's own folder."""

    def bake_here(**answers: str) -> BakedProject:
        return bake_into(tmp_path / "baked", template, **answers)

    return bake_here


@pytest.fixture(scope="session")
def default_project(template: Path, tmp_path_factory: pytest.TempPathFactory) -> BakedProject:
    """Return one project with all defaults, to look at and not to change."""
    return bake_into(tmp_path_factory.mktemp("default"), template)


@pytest.fixture(scope="session")
def project(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return the project that the tests of this process share, baked and installed."""
    return install(tmp_path_factory.mktemp("project"), template)


@pytest.fixture(scope="session")
def hook() -> dict[str, Any]:
    """Return the names of the hook that runs before, to call them without a bake."""
    source = (ROOT / "hooks" / "pre_gen_project.py").read_text()
    names: dict[str, Any] = {"__name__": "pre_gen_project"}
    exec(source.replace("{{ cookiecutter | tojson }}", "{}"), names)  # noqa: S102
    return names


@pytest.fixture(scope="session")
def hook_checks(hook: dict[str, Any]) -> Checks:
    """Return the check of each prompt: nothing for an accepted answer."""
    checks: Checks = hook["CHECKS"]
    return checks
