"""CI files, of the template and of every project, pass the linters that a security review runs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from bake import FOLDER, ROOT, BakedProject, bake_into
from parses import parse
from servers.programs import compose_command

URLS = {"sqlite": "sqlite:///app.db", "postgresql": "postgresql:///app", "mysql": "mysql:///app"}
SCHEMAS = {
    "vendor.github-workflows": ".github/workflows/*.yml",
    "custom.github-workflows-require-timeout": ".github/workflows/*.yml",
    "vendor.dependabot": ".github/dependabot.yml",
    "vendor.gitlab-ci": ".gitlab-ci.yml",
    "vendor.renovate": "renovate.json",
    "vendor.compose-spec": "**/compose.yaml",
}
ACTION = re.compile(r"uses: (\S+?)@(\S+) # (v[\d.]+)$", re.MULTILINE)
IMAGE = re.compile(r"(?:image:|name:|FROM) (python|postgres|mariadb):(\S+)")

Projects = dict[str, BakedProject]


@pytest.fixture(scope="module")
def projects(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Projects:
    """Return a project on GitHub for each driver, and one on GitLab."""
    folder = tmp_path_factory.mktemp("ci")
    made = {
        driver: bake_into(folder, template, database_url=url, project_slug=f"on_{driver}")
        for driver, url in URLS.items()
    }
    made["gitlab"] = bake_into(folder, template, ci="gitlab", database_url=URLS["mysql"])
    return made


@pytest.mark.parametrize("schema", SCHEMAS)
def test_each_file_follows_its_schema(projects: Projects, schema: str) -> None:
    """And every job of a workflow has a time limit."""
    folders = [ROOT, *(project.path for project in projects.values())]
    if schema == "vendor.compose-spec":
        folders.remove(ROOT)
    files = [str(file) for folder in folders for file in folder.glob(SCHEMAS[schema])]
    assert files

    reading = ("--data-transform", "gitlab-ci") if schema == "vendor.gitlab-ci" else ()
    lint("check-jsonschema", "--builtin-schema", schema, *reading, *files)


def test_workflows_and_updaters_have_no_weakness(projects: Projects) -> None:
    """Not even one that only an auditor would report."""
    folders = [str(projects[driver].path) for driver in URLS]
    lint("zizmor", "--offline", "--quiet", "--persona=auditor", str(ROOT / ".github"), *folders)


def test_every_gitlab_job_has_a_time_limit(projects: Projects) -> None:
    """Its own, or that of the job that it extends."""
    settings = parse(".gitlab-ci.yml", projects["gitlab"].text(".gitlab-ci.yml"))
    jobs = {name: job for name, job in settings.items() if name not in ("workflow", "default")}
    assert len(jobs) == 6
    for job in jobs.values():
        assert "timeout" in {**jobs.get(job.get("extends"), {}), **job}


def test_the_dockerfile_is_clean(projects: Projects) -> None:
    """As hadolint sees it."""
    if sys.platform == "win32":
        pytest.skip("hadolint is not published for Windows")
    lint("hadolint", str(projects["sqlite"].path / "Dockerfile"))


@pytest.mark.needs("docker-compose")
@pytest.mark.parametrize("driver", URLS)
def test_compose_understands_its_file(projects: Projects, driver: str) -> None:
    """With the secrets that the project's own .env holds."""
    command = compose_command()
    assert command
    projects[driver].run(*command, "config", "--quiet")


def test_projects_pin_the_same_actions_as_the_template(projects: Projects) -> None:
    """By commit: what an updater renews here is to be renewed there."""
    own = set(ACTION.findall((ROOT / ".github/workflows/ci.yml").read_text()))
    theirs = set(ACTION.findall(projects["sqlite"].text(".github/workflows/ci.yml")))
    assert {name for name, _, _ in theirs} == {"actions/checkout", "actions/setup-python"}
    assert theirs <= own
    assert all(re.fullmatch("[0-9a-f]{40}", commit) for _, commit, _ in own)


def test_images_are_pinned_to_one_exact_version_each() -> None:
    """So that two builds a day apart start from the same; updaters name newer ones."""
    found = defaultdict(set)
    names = ("Dockerfile", "compose.yaml", ".gitlab-ci.yml", ".github/databases/*.yaml")
    for file in (file for name in names for file in (ROOT / FOLDER).glob(name)):
        for image, tag in IMAGE.findall(file.read_text()):
            found[image].add(tag.removesuffix("-slim"))

    assert {name: len(tags) for name, tags in found.items() if name != "python"} == {
        "postgres": 1,
        "mariadb": 1,
    }
    for tag in found["python"] | found["mariadb"]:
        assert re.fullmatch(r"\d+\.\d+\.\d+", tag)
    (tag,) = found["postgres"]
    assert re.fullmatch(r"\d+\.\d+", tag)


def lint(program: str, *arguments: str) -> None:
    """Run a linter of the tests' own environment; fail with what it finds."""
    found = shutil.which(program, path=str(Path(sys.executable).parent))
    assert found, f"{program} is not installed beside {sys.executable}"
    done = subprocess.run([found, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
