"""The project that all fault tests share: baked once, installed as its users install it."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import installing
from bake import bake_into

SLUG = "fault_service"
SECRET = "only-for-the-fault-tests"
OPS_TOKEN = "operator"

Setting = str | int | float


@dataclass(frozen=True)
class Project:
    """A baked project and the environment that it is installed in."""

    path: Path

    def program(self, name: str) -> str:
        """Give the path of a program in the project's environment."""
        return str(self.path / ".venv" / "bin" / name)

    def environment(self, url: str, **settings: Setting) -> dict[str, str]:
        """Give the variables of a process of the project on a database."""
        mine = {name: value for name, value in os.environ.items() if name not in _OWN}
        own = {"SQLALCHEMY_DATABASE_URI": url, "SECRET_KEY": SECRET, "OPS_TOKEN": OPS_TOKEN}
        return mine | own | {name: str(value) for name, value in settings.items()}

    def start(self, url: str, *command: str, **settings: Setting) -> subprocess.Popen[str]:
        """Start one of the environment's programs in the project's folder."""
        return subprocess.Popen(
            [self.program(command[0]), *command[1:]],
            cwd=self.path,
            env=self.environment(url, **settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, url: str, *command: str, **settings: Setting) -> str:
        """Run one of the environment's programs and give what it says; fail if it fails."""
        with self.start(url, *command, **settings) as process:
            said = process.communicate(timeout=120)[0]
        assert process.returncode == 0, f"{command} gave {process.returncode}:\n{said}"
        return said

    def migrate(self, url: str, **settings: Setting) -> str:
        """Bring the schema of a database up to date."""
        return self.run(url, "flask", "db", "upgrade", **settings)


# what belongs to the process that runs the tests
_OWN = {"DATABASE_URL", "PYTHONPATH", "VIRTUAL_ENV", "PROMETHEUS_MULTIPROC_DIR"}


def install(folder: Path, template: Path, **answers: str) -> Project:
    """Bake the template; install the project with the versions that the run asks for."""
    path = bake_into(folder, template, project_slug=SLUG, docker="no", ci="none", **answers).path
    project = Project(path)
    python = installing.make_environment(path / ".venv")
    resolution = os.environ.get("FLASK_POOL_RESOLUTION", "highest")
    # and what it needs to plot and to test itself
    installing.install(path, python, "matplotlib>=3.10", "pytest>=9", resolution=resolution)
    return project
