"""cruft makes the same project as cookiecutter, and updates it without touching secrets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest
from bake import FOLDER, ROOT, BakedProject, commit, copy_files, copy_template, git
from parses import env

URL = "postgresql://app:hunter2@db.example.com/shop"


def cruft(*arguments: str, folder: Path) -> str:
    """Run cruft in a folder and return what it and the hooks print."""
    done = subprocess.run(
        [sys.executable, "-m", "cruft", *arguments],
        cwd=folder,
        # a compiled copy of the template's extension may be left, as for most users
        env={name: os.environ[name] for name in os.environ if name != "PYTHONDONTWRITEBYTECODE"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def create(template: Path | str, folder: Path, **answers: str) -> BakedProject:
    """Make a project with cruft."""
    folder.mkdir()
    output = cruft(
        "create", str(template), "--no-input", "--extra-context", json.dumps(answers), folder=folder
    )
    (path,) = folder.iterdir()
    return BakedProject(path, answers, output)


@pytest.fixture
def own_template(private_home: Path, tmp_path: Path) -> Path:
    """Return a repository with the template that this test may change."""
    return copy_template(tmp_path / "flask-pool")


def next_version(template: Path) -> None:
    """Commit a change of two files, a new file and a removed one to the template."""
    project = template / FOLDER
    lock = project / "locks" / "sqlite.txt"
    lock.write_text(lock.read_text() + "# the next version of the lock\n")
    makefile = project / "Makefile"
    makefile.write_text(makefile.read_text() + "\n# the next version of the template\n")
    (project / "NEWS.md").write_text("# News of {{ cookiecutter.project_name }}\n")
    (project / ".editorconfig").unlink()
    commit(template, "the next version")


def test_cruft_and_cookiecutter_make_the_same_project(
    template: Path, tmp_path: Path, default_project: BakedProject
) -> None:
    """But for cruft's own file and the secrets."""
    project = create(template, tmp_path / "created")
    assert project.files() - {".cruft.json"} == default_project.files()
    for name in default_project.files() - {".env"}:
        assert project.text(name) == default_project.text(name), name
    assert "commit it, so that `cruft update` works" in project.output


def test_an_update_brings_the_template_s_changes_and_keeps_the_project_s(
    own_template: Path, tmp_path: Path
) -> None:
    """The user's secrets, history, lock and own changes stay as they are."""
    project = create(own_template, tmp_path / "created", project_name="Ünï 'Shop' \"{% x")
    package = project.path / "src" / project.slug
    (package / "mine.py").write_text("MINE = 1\n")
    (project.path / ".env").write_text("SECRET_KEY=my-own\nOPS_TOKEN=mine\n")
    (project.path / "instance").mkdir()
    (project.path / "instance" / "app.db").write_text("my data")
    commit(project.path, "my work")
    head = git(project.path, "rev-parse", "HEAD")

    next_version(own_template)
    cruft("update", "--skip-apply-ask", folder=project.path)

    assert git(project.path, "rev-parse", "HEAD") == head
    changes = set(git(project.path, "status", "--porcelain", "-uall").split("\n"))
    assert {line[3:] for line in changes} == {
        *("", "Makefile", "NEWS.md", ".editorconfig", ".cruft.json")
    }
    assert "# the next version of the template" in project.text("Makefile")
    assert project.text("NEWS.md") == "# News of Ünï 'Shop' \"{% x\n"
    assert env(project) == {"SECRET_KEY": "my-own", "OPS_TOKEN": "mine"}
    assert (project.path / "instance" / "app.db").read_text() == "my data"
    assert list(project.path.rglob("*.rej")) == []
    state = json.loads(project.text(".cruft.json"))
    assert state["commit"] == git(own_template, "rev-parse", "HEAD").strip()


@pytest.mark.parametrize("by_url", [False, pytest.param(True, marks=pytest.mark.repeat)])
def test_an_update_uses_the_new_version_of_the_template_s_extension(
    own_template: Path, tmp_path: Path, by_url: bool
) -> None:
    """cruft renders the old version and the new one in one process, within a second."""
    address = f"file://{own_template}" if by_url else str(own_template)
    project = create(address, tmp_path / "created", database_url=URL)
    assert "//app:***@" in project.text(".env.example")
    extension = own_template / "flask_pool_extension.py"
    size = extension.stat().st_size
    extension.write_text(extension.read_text().replace(r'"\1:***@"', r'"\1:+++@"'))
    assert extension.stat().st_size == size  # Python would take a compiled copy for this file's
    commit(own_template, "the next version")

    cruft("update", "--skip-apply-ask", folder=project.path)
    assert "//app:+++@" in project.text(".env.example")
    cruft("check", folder=project.path)
    assert "diff --git" not in cruft("diff", folder=project.path)


def test_a_password_in_cruft_s_answers_is_kept_out_of_an_outer_repository(
    template: Path, tmp_path: Path
) -> None:
    """The project of a monorepo has no repository of its own."""
    git(tmp_path, "init", "--quiet")
    project = create(template, tmp_path / "my [services]", database_url=URL)
    assert "git ignores it here" in project.output
    assert not (project.path / ".git").exists()
    git(tmp_path, "add", "--all")
    assert ".cruft.json" not in git(tmp_path, "ls-files")
    assert "hunter2" not in git(tmp_path, "cat-file", "--batch", "--batch-all-objects")


@pytest.mark.parametrize("masked", [pytest.param(False, marks=pytest.mark.repeat), True])
def test_a_password_in_cruft_s_answers_is_kept_out_of_git(
    own_template: Path, tmp_path: Path, masked: bool
) -> None:
    """git ignores the file until the password is masked; updates work before and after."""
    project = create(own_template, tmp_path / "created", database_url=URL)
    assert "password in .cruft.json" in project.output
    assert git(project.path, "status", "--porcelain") == ""
    assert "hunter2" not in git(project.path, "cat-file", "--batch", "--batch-all-objects")
    if masked:
        state = project.path / ".cruft.json"
        state.write_text(state.read_text().replace("hunter2", "***"))
        git(project.path, "add", "--force", ".cruft.json")
        git(project.path, "commit", "--quiet", "--message", "answers without the password")

    next_version(own_template)
    cruft("update", "--skip-apply-ask", folder=project.path)
    assert "# the next version of the template" in project.text("Makefile")
    assert "hunter2" in env(project)["SQLALCHEMY_DATABASE_URI"]
    assert ("hunter2" in project.text(".cruft.json")) is not masked


# the last version whose pool was a part of the project; see CHANGELOG.md
BEFORE_THE_LIBRARY = "5af628a"


@pytest.fixture
def old_template(private_home: Path, tmp_path: Path) -> Path:
    """Return a repository whose only commit is the template before the pool moved."""
    known = subprocess.run(
        ["git", "cat-file", "-e", f"{BEFORE_THE_LIBRARY}^{{commit}}"], cwd=ROOT, check=False
    )
    if known.returncode:
        pytest.skip("this clone does not hold the history: git fetch --unshallow")
    target = tmp_path / "flask-pool"
    target.mkdir()
    archive = tmp_path / "old.zip"
    git(ROOT, "archive", "--output", str(archive), BEFORE_THE_LIBRARY)
    with ZipFile(archive) as files:
        files.extractall(target)
    git(target, "init", "--quiet")
    commit(target, "before")
    return target


def test_a_project_of_before_the_library_follows(old_template: Path, tmp_path: Path) -> None:
    """It becomes what a new bake is, but for its secrets, its data and its own work."""
    project = create(old_template, tmp_path / "created", pool_size="7")
    package = project.path / "src" / project.slug
    (package / "mine.py").write_text("MINE = 1\n")
    makefile = project.path / "Makefile"
    makefile.write_text(makefile.read_text() + "\nmine:\n\techo mine\n")
    secrets = project.text(".env")
    commit(project.path, "my work")

    git(old_template, "rm", "-r", "--quiet", ".")
    copy_files(old_template)
    commit(old_template, "the pool is a library")
    cruft("update", "--skip-apply-ask", folder=project.path)
    new = create(old_template, tmp_path / "new", pool_size="7")

    assert list(project.path.rglob("*.rej")) == []
    assert project.files() - new.files() == {f"src/{project.slug}/mine.py"}
    assert new.files() - project.files() == set()
    # the lock is the project's own: `make lock` makes the first line of it
    for name in new.files() - {".env", ".cruft.json", "Makefile", "requirements.txt"}:
        assert project.text(name) == new.text(name), name
    assert project.text(".env") == secrets
    assert project.text("Makefile") == new.text("Makefile") + "\nmine:\n\techo mine\n"
