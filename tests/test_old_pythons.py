"""The hooks run in whatever environment holds cookiecutter, on whatever Python that has."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from bake import Refused
from conftest import Bake

TOO_OLD = "flask-pool needs a cookiecutter that runs on Python 3.10 or newer."


def find_python(version: str) -> str:
    """Return the path of a bare Python of this version; skip the test if there is none."""
    installed = (Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python")
    for path in filter(None, [shutil.which(f"python{version}"), *map(str, installed)]):
        # a name on PATH may be one of pyenv's that stands for nothing
        told = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
        if told.stdout.startswith(f"Python {version}."):
            return path
    pytest.skip(f"Python {version} is not installed")


@pytest.mark.parametrize("version", ["3.7", "3.8", "3.9"])
def test_a_python_that_is_too_old_is_told_in_one_line(
    bake: Bake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str
) -> None:
    """Which one is needed, instead of a stack; and the copy of the hook is gone."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr("sys.executable", find_python(version))
    with pytest.raises(Refused) as refused:
        bake()
    assert str(refused.value).splitlines()[0] == TOO_OLD
    assert str(refused.value).count("flask-pool needs") == 1
    assert "/temporary/" not in str(refused.value)
    assert list((tmp_path / "temporary").iterdir()) == []
    assert list((tmp_path / "baked").iterdir()) == []


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13", "3.14"])
def test_the_hooks_need_nothing_but_python(
    bake: Bake, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    """A Python without any package finishes a project, and refuses one."""
    monkeypatch.setattr("sys.executable", find_python(version))
    monkeypatch.setenv("PYTHONNOUSERSITE", "1")
    project = bake(database_url="postgresql://app:hunter2@db.example.com/shop")
    assert (project.path / ".git").is_dir()
    assert "hunter2" in project.text(".env")
    with pytest.raises(Refused) as refused:
        bake(project_slug="class", pool_size="none")
    assert refused.value.prompts == ["project_slug", "pool_size"]
