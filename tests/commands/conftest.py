"""What the tests of commands share: the installed project, and its commands' answers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from faults.project import Project, Setting


@dataclass(frozen=True)
class Told:
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """What it said, read as JSON."""
        return json.loads(self.out)

    @property
    def findings(self) -> dict[str, str]:
        """The findings of `flask pool check`: their names and severities."""
        return {found["name"]: found["severity"] for found in self.data["findings"]}


Pool = Callable[..., Told]


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark every test of this folder: it installs the baked project."""
    if Path(item.path).parent == Path(__file__).parent:
        item.add_marker("project")


@pytest.fixture
def pool(project: Project) -> Pool:
    """Give a function that runs `flask pool ...` on a database."""

    def run(url: str, *arguments: str, **settings: Setting) -> Told:
        done = subprocess.run(
            [project.program("flask"), "pool", *arguments],
            cwd=project.path,
            env=project.environment(url, **settings),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        return Told(done.returncode, done.stdout, done.stderr)

    return run
