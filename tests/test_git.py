"""The first commit: made whatever the user's git is set to, and never a reason to fail."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from bake import BakedProject, bake_into, bake_over, git
from conftest import Bake

NEXT = "Next:\n  cd flask_pool_service\n  make run\n"


def history(project: BakedProject) -> str:
    """Return author and subject of every commit."""
    return git(project.path, "log", "--format=%an <%ae>: %s")


def test_a_project_begins_with_one_clean_commit(bake: Bake) -> None:
    """By the user, with every file but .env."""
    project = bake()
    assert history(project) == "A Tester <tester@example.com>: Start from flask-pool\n"
    assert git(project.path, "status", "--porcelain") == ""
    tracked = set(git(project.path, "ls-files").splitlines())
    assert tracked == project.files() - {".env"}
    assert project.output.endswith(NEXT)


def test_files_that_were_here_are_not_in_the_first_commit(
    template: Path, tmp_path: Path, default_project: BakedProject
) -> None:
    """`cookiecutter -f` into a folder in use commits the template's own files and no other."""
    folder = tmp_path / "flask_pool_service"
    for name in ("notes.txt", "src/mine/__init__.py", "docs/é \n.md", "inner/file", "README.md"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("mine\n")
    git(folder / "inner", "init", "--quiet")
    project = bake_over(tmp_path, template)
    tracked = git(project.path, "ls-files", "-z").split("\0")[:-1]
    assert set(tracked) == default_project.files() - {".env"}
    assert "Flask Pool Service" in git(project.path, "show", "HEAD:README.md")
    assert "git: left out of the first commit: 4 that were here before.\n" in project.output
    assert project.text("notes.txt") == "mine\n"
    assert git(project.path, "diff", "HEAD") == ""


def test_files_that_the_user_ignores_elsewhere_are_committed(
    bake: Bake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Everybody's first commit is the same; .env stays out of it."""
    (tmp_path / "ignore").write_text("*.toml\n.env*\nDockerfile\n/docs/\n")
    config = f"[user]\n name = U\n email = u@h\n[core]\n excludesFile = {tmp_path}/ignore\n"
    (tmp_path / "gitconfig").write_text(config)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    project = bake()
    assert set(git(project.path, "ls-files").splitlines()) == project.files() - {".env"}


def test_without_a_name_git_takes_the_author(
    bake: Bake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A machine where git was never set up makes the commit too."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "none"))
    project = bake(author_name="Ada; $(id) Ünal", author_email="ada@example.com")
    assert history(project) == "Ada; $(id) Ünal <ada@example.com>: Start from flask-pool\n"


def test_hooks_signing_and_outer_git_do_not_matter(
    bake: Bake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A user's global hooks or signing key would fail or ask."""
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("pre-commit", "prepare-commit-msg", "commit-msg", "post-commit"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/ran-{name}\nexit 1\n")
        (hooks / name).chmod(0o755)
    config = tmp_path / "gitconfig"
    config.write_text(
        "[user]\n name = U\n email = u@example.com\n signingKey = none\n"
        f"[core]\n hooksPath = {hooks}\n autocrlf = true\n safecrlf = true\n"
        "[commit]\n gpgSign = true\n"
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    project = bake()
    monkeypatch.undo()
    assert history(project) == "U <u@example.com>: Start from flask-pool\n"
    assert list(tmp_path.glob("ran-*")) == []
    assert not (tmp_path / "elsewhere").exists()


def test_without_git_there_is_a_note_and_a_project(
    bake: Bake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """git is a help, no requirement."""
    monkeypatch.setenv("PATH", str(tmp_path))
    project = bake()
    assert "git: no first commit (" in project.output
    assert project.output.endswith(NEXT)
    assert not (project.path / ".git").exists()
    assert (project.path / ".env").is_file()


@pytest.mark.parametrize("script", ["exit 1", "echo no such luck >&2; exit 128", "kill -9 $$"])
def test_a_failing_git_is_a_note(
    bake: Bake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str
) -> None:
    """Whatever it says, or if it says nothing."""
    (tmp_path / "git").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    project = bake()
    assert "git: no first commit (" in project.output
    assert project.output.endswith(NEXT)


def test_inside_another_repository_there_is_no_second_one(template: Path, tmp_path: Path) -> None:
    """The outer repository would not see the files of an inner one."""
    git(tmp_path, "init", "--quiet")
    project = bake_into(tmp_path / "services", template)
    assert "part of another repository" in project.output
    assert not (project.path / ".git").exists()
    assert ".env\n" in git(tmp_path, "status", "--porcelain", "--ignored", "-uall")
    assert "?? services/flask_pool_service/.env\n" not in git(
        tmp_path, "status", "--porcelain", "-uall"
    )


def test_the_hooks_print_in_any_encoding(template: Path, tmp_path: Path) -> None:
    """A console that knows only ASCII is no reason to fail."""
    (tmp_path / "é").mkdir()
    (tmp_path / "é" / "settings.yaml").write_text(f"replay_dir: {tmp_path}/é\n", "utf-8")
    options = ["--no-input", "--output-dir", str(tmp_path), str(template)]
    done = subprocess.run(
        [sys.executable, "-m", "cookiecutter", *options, "database_url=mysql://u:p@h/d"],
        env={
            "PATH": "/usr/bin:/bin",
            "COOKIECUTTER_CONFIG": str(tmp_path / "é" / "settings.yaml"),
            "PYTHONIOENCODING": "ascii",
        },
        capture_output=True,
        check=True,
    )
    assert "\\xe9" in done.stderr.decode("ascii")
    assert done.stdout.decode("ascii").endswith(NEXT)


def test_a_bake_from_a_git_url_gives_the_same_project(
    template: Path, tmp_path: Path, default_project: BakedProject
) -> None:
    """As `cookiecutter gh:...` does it: clone, then bake."""
    cloned = bake_into(tmp_path / "cloned", f"git+file://{template}")
    names = default_project.files() - {".env"}
    assert cloned.files() - {".env"} == names
    assert [n for n in names if cloned.text(n) != default_project.text(n)] == []
