"""requirements.txt pins all that a project runs on and is built with, for every driver."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import uv
from bake import BakedProject, bake_into

URLS = {"sqlite": "sqlite:///app.db", "postgresql": "postgresql:///app", "mysql": "mysql:///app"}
PLATFORMS = ["linux", "aarch64-unknown-linux-musl", "aarch64-apple-darwin", "windows"]
UV = uv.find_uv_bin()

pytestmark = pytest.mark.project


@pytest.fixture(scope="module")
def projects(template: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, BakedProject]:
    """Return a project for each driver."""
    folder = tmp_path_factory.mktemp("locked")
    return {
        driver: bake_into(folder / driver, template, database_url=url, project_slug="locked")
        for driver, url in URLS.items()
    }


@pytest.mark.parametrize("driver", URLS)
def test_the_lock_is_what_make_lock_writes(
    projects: dict[str, BakedProject], driver: str, tmp_path: Path
) -> None:
    """Each pin still exists and satisfies pyproject.toml, nothing is missing and nothing left over.

    If this fails: `make lock` in the template.
    """
    project = projects[driver]
    locked = project.text("requirements.txt")
    tools = tmp_path / "tools" / "bin"
    tools.mkdir(parents=True)
    tools.joinpath("uv").symlink_to(UV)
    tools.joinpath("python").symlink_to(sys.executable)

    project.run("make", "lock", f"VENV={tools.parent}")

    assert project.text("requirements.txt") == locked


# what SQLite takes is in both
@pytest.mark.parametrize("driver", ["postgresql", "mysql"])
@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_platform_finds_published_wheels_in_the_lock(
    projects: dict[str, BakedProject], driver: str, platform: str, tmp_path: Path
) -> None:
    """Nothing of others has to be built, on the newest Python either."""
    there = ("--target", str(tmp_path / "nowhere"), "--python-platform", platform)
    said = install(projects[driver], "--dry-run", "--python-version", "3.14", *there)
    assert "Would install" in said


@pytest.mark.parametrize("driver", ["postgresql", "mysql"])
def test_what_was_locked_installs_and_runs(
    projects: dict[str, BakedProject], driver: str, tmp_path: Path
) -> None:
    """The package itself is built without a look at an index, with the locked backend."""
    project = projects[driver]
    venv = tmp_path / "venv"
    project.run(UV, "venv", "--quiet", "--python", sys.executable, str(venv))
    install(project, "--python", str(venv))
    own = ("--offline", "--no-deps", "--no-build-isolation", "--no-cache")
    project.run(UV, "pip", "install", "--quiet", "--python", str(venv), *own, ".")
    project.run(UV, "pip", "check", "--python", str(venv))

    project.run(str(venv / "bin" / "flask"), "--app", project.slug, "--debug", "routes")


def install(project: BakedProject, *arguments: str) -> str:
    """Install from the lock as a deployment does, and return what uv says."""
    strictly = ("--require-hashes", "--only-binary", ":all:", "--requirement", "requirements.txt")
    return project.run(UV, "pip", "install", *strictly, *arguments).stderr
