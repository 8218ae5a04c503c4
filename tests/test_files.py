"""Which files a project has, and that each is clean, for every option."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from bake import FOLDER, ROOT, BakedProject, git
from conftest import Bake
from parses import assert_parses, leftovers, parse, texts, toml

DOCKER = {"Dockerfile", ".dockerignore", "compose.yaml"}
CI = {
    "github": {".github/workflows/ci.yml", ".github/dependabot.yml"},
    "gitlab": {".gitlab-ci.yml", "renovate.json"},
    "none": set[str](),
}
LICENSES = {
    "MIT": ("Permission is hereby granted, free of charge", "MIT"),
    "Apache-2.0": ("Version 2.0, January 2004", "Apache-2.0"),
    "BSD-3-Clause": ("Neither the name of the copyright holder", "BSD-3-Clause"),
    "Proprietary": ("All rights reserved", "LicenseRef-Proprietary"),
}
DATABASES = {
    "sqlite": "sqlite:///app.db",
    "postgresql": "postgresql://app:secret@db.example.com/shop",
    "mysql": "mysql://app:secret@db.example.com/shop",
}


POSTGRESQL = {"ops/pgbouncer.ini", "ops/kubernetes/pgbouncer.yaml"}


def expected_files(slug: str, docker: str, ci: str, family: str) -> set[str]:
    """Return what must be there: the package and tests as stored, and what was chosen."""
    stored = ROOT / FOLDER
    code = {
        path.relative_to(stored).as_posix().replace(FOLDER, slug)
        for folder in ("ops", "src", "tests", "vendor")
        for path in (stored / folder).rglob("*")
        if path.is_file() and not any("cache" in part for part in path.parts)
    }
    top = {
        *(
            "README.md",
            "pyproject.toml",
            "requirements.txt",
            "Makefile",
            "gunicorn.conf.py",
            "LICENSE",
            ".flaskenv",
            ".gitattributes",
        ),
        *(".env", ".env.example", ".gitignore", ".editorconfig", ".pre-commit-config.yaml"),
    }
    if family != "postgresql":
        code -= POSTGRESQL
    if docker == "no" or family == "sqlite":
        code = {name for name in code if not name.startswith("ops/kubernetes/")}
    return code | top | (DOCKER if docker == "yes" else set()) | CI[ci]


@pytest.mark.parametrize(
    ("docker", "ci", "family"),
    [
        *(("yes", "github", family) for family in DATABASES),
        *(("yes", ci, family) for ci in ("gitlab", "none") for family in ("postgresql", "mysql")),
        *(("no", ci, family) for ci, family in zip(CI, DATABASES, strict=True)),
    ],
)
def test_a_project_has_exactly_the_files_that_were_chosen(
    bake: Bake, docker: str, ci: str, family: str
) -> None:
    """Nothing of another choice stays, nor an empty folder; a database file is for GitHub."""
    project = bake(docker=docker, ci=ci, database_url=DATABASES[family])
    added = {".github/compose.yaml"} if ci == "github" and family != "sqlite" else set()
    assert project.files() == expected_files(project.slug, docker, ci, family) | added
    assert empty_folders(project) == []


def empty_folders(project: BakedProject) -> list[Path]:
    """Return the folders of a project that hold nothing."""
    folders = (path for path in project.path.rglob("*") if path.is_dir())
    return [path for path in folders if ".git" not in path.parts and not any(path.iterdir())]


def test_a_bake_leaves_nothing_in_the_template(template: Path, tmp_path: Path) -> None:
    """No compiled copy of its extension, which the next version would meet."""
    environment = {n: os.environ[n] for n in os.environ if n != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-m", "cookiecutter", "--no-input", "-o", str(tmp_path)]
    for name in (template.name, str(template)):
        arguments = [name, f"project_slug=shop_{len(name)}"]
        subprocess.run([*command, *arguments], cwd=template.parent, env=environment, check=True)
    assert git(template, "status", "--porcelain", "--ignored") == ""


@pytest.mark.parametrize("name", list(LICENSES))
def test_the_license_is_the_chosen_one(bake: Bake, name: str) -> None:
    """Its text carries the author, and pyproject its SPDX name."""
    words, spdx = LICENSES[name]
    project = bake(license=name, author_name="Ada & Söhne")
    text = project.text("LICENSE")
    assert words in text
    assert "Ada & Söhne" in text
    assert toml(project)["project"]["license"] == spdx


@pytest.mark.parametrize("docker", ["yes", "no"])
@pytest.mark.parametrize(("family", "url"), DATABASES.items())
def test_every_file_parses_and_holds_no_template_code(
    bake: Bake, family: str, url: str, docker: str
) -> None:
    """For each database, with every answer in use."""
    for ci in ("github", "gitlab"):
        project = bake(database_url=url, docker=docker, ci=ci, project_slug=f"shop_{ci}")
        assert_parses(project)
        assert leftovers(project) == {}
        for name in texts(project):
            text = project.text(name)
            assert not any(line.endswith((" ", "\t")) for line in text.splitlines()), name
            assert "\n\n\n\n" not in text, name


@pytest.mark.parametrize(("family", "url"), DATABASES.items())
def test_the_driver_follows_the_url(bake: Bake, family: str, url: str) -> None:
    """A project installs the driver of its database, and no other."""
    project = bake(database_url=url)
    wanted = {"sqlite": [], "postgresql": ["psycopg"], "mysql": ["pymysql"]}[family]
    dependencies = " ".join(toml(project)["project"]["dependencies"])
    assert [name for name in ("psycopg", "pymysql") if name in dependencies] == wanted
    lock = project.text("requirements.txt")
    assert [name for name in ("psycopg", "pymysql") if f"\n{name}==" in lock] == wanted

    workflow = project.text(".github/workflows/ci.yml")
    assert ("TEST_DATABASE_URL" in workflow) == (family != "sqlite")
    assert ("docker compose" in workflow) == (family != "sqlite")
    compose = parse("compose.yaml", project.text("compose.yaml"))
    assert ("database" in compose["services"]) == (family != "sqlite")


def test_the_workflow_asks_for_no_rights_and_has_one_required_job(
    default_project: BakedProject, bake: Bake
) -> None:
    """Every environment of tox runs, on GitLab too; the last job waits for all others."""
    workflow = parse("ci.yml", default_project.text(".github/workflows/ci.yml"))
    assert workflow["permissions"] == {}
    jobs = workflow["jobs"]
    assert jobs["required"]["needs"] == [name for name in jobs if name != "required"]
    runs = jobs["tests"]["strategy"]["matrix"]["include"]
    environments = toml(default_project)["tool"]["tox"]["env_list"]
    assert sorted(name for run in runs for name in run["environments"].split(",")) == sorted(
        environments
    )
    assert "${{ matrix.python }}" in default_project.text(".github/workflows/ci.yml")
    gitlab = bake(ci="gitlab").text(".gitlab-ci.yml")
    scripts = re.findall(r"tox run -e (\S+)", gitlab)
    assert sorted(",".join(scripts).split(",")) == sorted([*environments, "audit"])
    assert "tox run -e audit" in default_project.text(".github/workflows/ci.yml")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_no_other_file_than_env_is_private(default_project: BakedProject) -> None:
    """.env is for its owner alone; everything else can be read as usual."""
    modes = {
        name: stat.S_IMODE((default_project.path / name).stat().st_mode)
        for name in default_project.files()
    }
    assert modes.pop(".env") == 0o600
    assert set(modes.values()) == {0o644}


def test_every_default_has_a_line_in_the_example(default_project: BakedProject) -> None:
    """.env.example names what defaults.toml sets, with its values."""
    example = default_project.text(".env.example")
    defaults = toml(default_project, f"src/{default_project.slug}/defaults.toml")
    for name, value in defaults.items():
        if name in ("CONTENT_SECURITY_POLICY", "SQLALCHEMY_ENGINE_OPTIONS"):  # no line to copy
            continue
        text = str(value).lower() if isinstance(value, bool) else str(value)
        assert f"{name}={text}\n" in example


def test_the_documentation_shows_the_newest_figures() -> None:
    """`make bench` writes the block, and a picture beside it."""
    block = (ROOT / "benchmarks" / "results" / "latest.md").read_text().strip()

    assert block in (ROOT / "docs" / "benchmarks.md").read_text()
    assert (ROOT / "docs" / "benchmark.svg").is_file()
