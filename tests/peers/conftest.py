"""The peers' tests are run only when they are asked for: `pytest -m peers`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import uv
from bake import ROOT

from . import sources

# what the library accepts at its ends, and the end of SQLAlchemy's line before the newest
RESOLUTIONS = {
    "lowest": ["--resolution", "lowest-direct"],
    "2.0": ["sqlalchemy<2.1"],
    "newest": [],
}


@dataclass(frozen=True)
class Environment:
    """An environment that holds the library, and room for the peers' sources."""

    python: str
    package: str
    folder: Path
    archives: Path

    def version(self, name: str) -> str:
        """Give the version of a distribution in it."""
        return sources.version(self.python, name)

    def source(self, name: str) -> Path:
        """Give a fresh copy of the source of a distribution in it."""
        return sources.unpack(self.python, name, self.archives, self.folder)


Install = Callable[[str], Environment]


def pytest_configure(config: pytest.Config) -> None:
    """Name the marker."""
    config.addinivalue_line("markers", "peers: runs the peers' own tests, and only with -m peers")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests of this folder, and leave them out unless they are asked for."""
    mine = [item for item in items if Path(__file__).parent in Path(item.path).parents]
    for item in mine:
        item.add_marker("peers")
    if mine and "peers" not in config.getoption("markexpr"):
        config.hook.pytest_deselected(items=mine)
        items[:] = [item for item in items if item not in mine]


@pytest.fixture(scope="session")
def install(tmp_path_factory: pytest.TempPathFactory) -> Install:
    """Give a function that installs the library with the versions of a resolution."""
    # tox names its own folder, which outlives a run
    kept = os.environ.get("TOX_ENV_DIR")
    archives = Path(kept, "sources") if kept else tmp_path_factory.mktemp("archives")

    def into(resolution: str) -> Environment:
        folder = tmp_path_factory.mktemp("environment")
        python = str(folder / ".venv" / "bin" / "python")
        tool = [uv.find_uv_bin()]
        what = ["--editable", str(ROOT), "pip>=25", "pytest>=9", *RESOLUTIONS[resolution]]
        for command in (
            ["venv", "--quiet", "--python", sys.executable, str(folder / ".venv")],
            ["pip", "install", "--quiet", "--python", python, *what],
        ):
            subprocess.run([*tool, *command], cwd=folder, check=True)
        return Environment(python, "flask_pool", folder, archives)

    return into
