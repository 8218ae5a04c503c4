"""Secrets lie in .env and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest
from bake import BakedProject, bake_into, bake_over, git
from conftest import Bake
from parses import env, toml

PASSWORD = "hunter2secret"
URLS = [
    f"postgresql://app:{PASSWORD}@db.example.com/shop",
    f"mysql://app:{PASSWORD}@db.example.com/shop?charset=utf8mb4",
    f"postgresql://app@db.example.com/shop?password={PASSWORD}&sslmode=require",
    f"postgresql:///shop?host=/run&sslpassword={PASSWORD}&PASSWORD={PASSWORD}",
    f"mysql://db.example.com/shop?passwd={PASSWORD}",
]


def committed(project: BakedProject) -> str:
    """Return all objects of the project's git repository as text."""
    return git(project.path, "cat-file", "--batch", "--batch-all-objects")


@pytest.mark.parametrize("url", URLS)
def test_the_password_is_in_env_and_in_no_other_file(bake: Bake, url: str) -> None:
    """Neither in what git holds nor in any file beside it, nor in what the hooks print."""
    project = bake(database_url=url)
    assert PASSWORD in env(project)["SQLALCHEMY_DATABASE_URI"]
    holders = [
        path.relative_to(project.path).as_posix()
        for path in project.path.rglob("*")
        if path.is_file() and PASSWORD.encode() in path.read_bytes()
    ]
    assert holders == [".env"]
    assert PASSWORD not in committed(project)
    assert PASSWORD not in project.output
    assert "***" in toml(project, f"src/{project.slug}/defaults.toml")["SQLALCHEMY_DATABASE_URI"]


def test_the_secret_key_is_fresh_and_never_committed(bake: Bake) -> None:
    """Two projects never sign with the same key."""
    one, other = bake(project_slug="one"), bake(project_slug="other")
    keys = [env(project)["SECRET_KEY"] for project in (one, other)]
    assert len(set(keys)) == 2
    assert all(len(bytes.fromhex(key)) == 32 for key in keys)
    assert keys[0] not in committed(one)
    assert git(one.path, "status", "--porcelain") == ""
    assert ".env" not in git(one.path, "ls-files").splitlines()


def test_the_database_that_compose_starts_has_a_password_of_its_own(bake: Bake) -> None:
    """It is made at random and lies in .env too; SQLite and a project without Docker need none."""
    project = bake(database_url=URLS[0])
    assert len(env(project)["COMPOSE_DATABASE_PASSWORD"]) == 32
    assert env(project)["COMPOSE_DATABASE_PASSWORD"] not in committed(project)
    assert "${COMPOSE_DATABASE_PASSWORD:?" in project.text("compose.yaml")
    for answers in ({}, {"database_url": URLS[0], "docker": "no"}):
        plain = bake(project_slug="plain" + str(len(answers)), **answers)
        assert "COMPOSE_DATABASE_PASSWORD" not in env(plain)
        assert "COMPOSE_DATABASE_PASSWORD" not in plain.text(".env.example")


def test_an_env_that_was_there_is_never_overwritten(template: Path, tmp_path: Path) -> None:
    """Baking again over a project keeps its secrets, its history and its other files."""
    project = bake_into(tmp_path, template)
    before = project.text(".env")
    workflow = project.path / ".github" / "workflows" / "mine.yml"
    workflow.write_text("mine\n")
    head = git(project.path, "rev-parse", "HEAD")
    again = bake_over(tmp_path, template, ci="none")
    assert again.text(".env") == before
    assert "The .env that was here stays as it is." in again.output
    assert workflow.read_text() == "mine\n"
    assert git(project.path, "rev-parse", "HEAD") == head
