"""What was baked passes its own checks, unchanged: tests, style, types and tox."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import installing
import pytest
import servers
import uv
from bake import BakedProject, bake_into
from parses import toml

RESOLUTION = os.environ.get("FLASK_POOL_RESOLUTION", "highest")
VARIANTS: dict[str, dict[str, str]] = {
    "defaults": {},
    "postgresql": {
        "database_url": "postgresql://app:p%40ss%2Fword@db.example/app",
        "pool_timeout": "0.5",
        "pool_recycle": "-1",
        "docker": "no",
        "ci": "none",
        "license": "Proprietary",
    },
    "mariadb": {
        "database_url": "mariadb://app@db.example/app",
        "project_slug": "s" * 80,
        "pool_size": "1000",
        "max_overflow": "0",
        "ci": "gitlab",
        "license": "Apache-2.0",
    },
    "hostile text": {
        "project_name": """It's "quoted" \\ {% raw %} 😀""",
        "project_slug": "a",
        "description": '''x"; __import__("os")._exit(1) # """ \\N{DASH} $HOME `id` 🐍''',
        "author_name": 'O\'Brien \\ "Zoë" 李',
        "license": "BSD-3-Clause",
    },
}

PATIENCE = 900  # seconds for a command; the deadline only ends a run that would never end

Get = Callable[[str], BakedProject]

newest_tools = pytest.mark.skipif(
    RESOLUTION != "highest", reason="style and types are checked with the newest tools only"
)


@pytest.fixture(scope="session")
def baked(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Get:
    """Give a function that bakes a variant, once each."""

    @functools.cache
    def bake(variant: str) -> BakedProject:
        return bake_into(tmp_path_factory.mktemp("project"), template, **VARIANTS[variant])

    return bake


@pytest.fixture(scope="session")
def installed(baked: Get) -> Get:
    """Give a function that bakes and installs a variant, once each."""

    @functools.cache
    def install(variant: str) -> BakedProject:
        project = baked(variant)
        python = installing.make_environment(project.path / ".venv")
        tools = toml(project)["project"]["optional-dependencies"]["dev"][1:]  # after its own extras
        installing.install(project.path, python, *tools, "tox-uv>=1.29", resolution=RESOLUTION)
        return project

    return install


def run(
    project: BakedProject, *command: str, beside: BakedProject | None = None, **environment: str
) -> str:
    """Run a program of the project's environment and give what it says; fail if it fails.

    Beside another one it uses that one's: to install it takes as long as to test it.
    """
    own = {name: value for name, value in os.environ.items() if not name.startswith("TOX")}
    own.pop("PYTHONPATH", None)
    if beside is not None:
        own["PYTHONPATH"] = str(project.path / "src")
    programs = (beside or project).path / ".venv" / "bin"
    done = subprocess.run(
        [str(programs / command[0]), *command[1:]],
        cwd=project.path,
        env=own | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, f"{command} gave {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


def assert_all_ran(said: str) -> None:
    """Fail if a test was left out, but for want of replicas or of the right to mount."""
    left_out = [line for line in said.splitlines() if line.startswith("SKIPPED")]
    known = ("SQLite has no replicas", "a small file system can't be mounted")
    assert [line for line in left_out if not any(reason in line for reason in known)] == []
    assert " passed" in said


def test_its_suite_passes_on_sqlite_with_any_python(installed: Get) -> None:
    """Nothing else is needed to test a new service."""
    assert_all_ran(run(installed("defaults"), "pytest", "-q"))


@pytest.mark.project
@pytest.mark.parametrize(
    "server", ["postgresql", pytest.param("mariadb", marks=pytest.mark.repeat)]
)
def test_its_suite_passes_whole_on_a_server(
    installed: Get, baked: Get, server: str, request: pytest.FixtureRequest
) -> None:
    """The run makes its own database and drops it; other answers change nothing."""
    running: servers.PostgreSQL | servers.MariaDB = request.getfixturevalue(server)
    listing = "SELECT datname FROM pg_database" if server == "postgresql" else "SHOW DATABASES"
    before = running.rows(listing)
    url = running.url(running.create_database())
    made = running.rows(listing)
    assert len(made) == len(before) + 1

    defaults = installed("defaults")
    said = run(baked(server), "pytest", "-q", beside=defaults, TEST_DATABASE_URL=url)

    assert_all_ran(said)
    assert running.rows(listing) == made


@pytest.mark.repeat
@pytest.mark.project
@pytest.mark.parametrize("variant", [name for name in VARIANTS if name != "defaults"])
def test_its_suite_passes_whatever_was_answered(installed: Get, variant: str) -> None:
    """No answer changes the code that is tested."""
    assert_all_ran(run(installed(variant), "pytest", "-q"))


@newest_tools
@pytest.mark.project
@pytest.mark.parametrize("variant", VARIANTS)
def test_its_style_is_clean(installed: Get, baked: Get, variant: str) -> None:
    """Its own settings find nothing, before anybody has touched it."""
    ruff = str(installed("defaults").path / ".venv" / "bin" / "ruff")
    baked(variant).run(ruff, "check", "--no-cache")
    baked(variant).run(ruff, "format", "--check", "--no-cache")


@newest_tools
@pytest.mark.repeat
@pytest.mark.project
@pytest.mark.parametrize("variant", VARIANTS)
def test_its_types_are_clean(installed: Get, variant: str) -> None:
    """Its own strict settings find nothing."""
    run(installed(variant), "mypy")


@newest_tools
@pytest.mark.repeat
@pytest.mark.project
def test_its_tox_runs_through(installed: Get) -> None:
    """Every environment passes, or says that its Python is missing; each has a description."""
    project = installed("defaults")
    described = run(project, "tox", "list")
    assert "[no description]" not in described

    said = run(project, "tox", "run", "-e", "lint,types,lowest,newest")

    for environment in ("lint", "types", "newest"):
        assert f"{environment}: OK" in said
    assert "lowest: OK" in said or (shutil.which("python3.11") is None and "lowest: SKIP" in said)


@newest_tools
@pytest.mark.project
def test_plain_gunicorn_accepts_its_configuration(installed: Get) -> None:
    """`gunicorn` in the project's folder needs nothing else."""
    run(installed("defaults"), "gunicorn", "--check-config")


@newest_tools
@pytest.mark.project
def test_a_wheel_holds_all_that_serving_and_migrating_need(installed: Get, tmp_path: Path) -> None:
    """Installed elsewhere, it migrates, and its SQLite file lies in that folder's instance/."""
    project = installed("defaults")
    tool, elsewhere = uv.find_uv_bin(), tmp_path / "elsewhere"
    elsewhere.mkdir()
    project.run(tool, "build", "--quiet", "--wheel", "--out-dir", str(tmp_path))
    (wheel,) = tmp_path.glob("*.whl")
    python = str(elsewhere / "venv" / "bin" / "python")
    project.run(tool, "venv", "--quiet", "--python", sys.executable, str(elsewhere / "venv"))
    project.run(tool, "pip", "install", "--quiet", "--python", python, str(wheel))
    flask = [str(elsewhere / "venv" / "bin" / "flask"), "--app", project.slug, "--debug"]

    subprocess.run([*flask, "db", "upgrade"], cwd=elsewhere, check=True, timeout=PATIENCE)

    assert (elsewhere / "instance" / "app.db").is_file()
    assert not (project.path / "instance" / "app.db").exists()
