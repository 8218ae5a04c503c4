"""The baked project, installed as its users install it, with what its references need."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import installing
import psutil
from bake import ROOT, bake_into, copy_template
from servers.workshop import make_folder

SLUG = "measured"
NOWHERE = "postgresql+psycopg://user:password@127.0.0.1:1/nowhere"
SECRET = "only-for-the-benchmarks"
# what belongs to the process that measures
FOREIGN = {"DATABASE_URL", "PYTHONPATH", "VIRTUAL_ENV", "PROMETHEUS_MULTIPROC_DIR", "FLASK_APP"}
PACKAGES = ("sqlalchemy", "flask", "gunicorn", "psycopg", "flask-sqlalchemy", "psycopg-pool")
VERSIONS = "import sys, importlib.metadata as m; print(*map(m.version, sys.argv[1:]))"


@dataclass(frozen=True)
class Project:
    """A baked project in an environment of its own, and the template that it came from."""

    path: Path
    template: Path

    def program(self, name: str) -> str:
        """Return the path of a program in the project's environment."""
        return str(self.path / ".venv" / "bin" / name)

    def environment(self, url: str, **settings: object) -> dict[str, str]:
        """Return the variables of a process on a database."""
        own = {"SECRET_KEY": SECRET, "FLASK_APP": SLUG, "SQLALCHEMY_DATABASE_URI": url}
        return clean_environment() | own | {name: str(value) for name, value in settings.items()}

    @cached_property
    def threads(self) -> int:
        """Return the number of threads that a worker has if nobody says how many."""
        return int(self.gunicorn()["threads"])

    def gunicorn(self, *arguments: str, **settings: object) -> dict[str, str]:
        """Return all of gunicorn's settings as it would start with these arguments."""
        shown = self.run(NOWHERE, "gunicorn", "--print-config", *arguments, **settings)
        lines = (line.partition(" = ") for line in shown.splitlines())
        return {name.strip(): value for name, equals, value in lines if equals}

    def run(self, url: str, *command: str, **settings: object) -> str:
        """Run one of the environment's programs in the project's folder; return what it prints."""
        done = subprocess.run(
            [self.program(command[0]), *command[1:]],
            cwd=self.path,
            env=self.environment(url, **settings),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{command} gave {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def facts(self) -> dict[str, Any]:
        """Return what a reader needs to judge the figures: machine and versions, no host names."""
        versions = self.run(NOWHERE, "python", "-c", VERSIONS, *PACKAGES).split()
        text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
        names = [line.partition(": ")[2] for line in text.splitlines() if "model name" in line]
        return {
            "date": datetime.now(UTC).date().isoformat(),
            "processor": names[0].strip() if names else platform.machine(),
            "cores": psutil.cpu_count(),
            "load_before": round(os.getloadavg()[0], 2),
            "threads": self.threads,
            "versions": {"python": platform.python_version()}
            | dict(zip(PACKAGES, versions, strict=True)),
        }


def clean_environment() -> dict[str, str]:
    """Return this process's variables but those that would change a project's behaviour."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in FOREIGN and not name.startswith(("SQLALCHEMY_", "TOX", "WEB_"))
    }


@contextmanager
def private_home() -> Iterator[Path]:
    """Make a folder that goes away with this process, apart from the user's own settings."""
    folder = make_folder("bench", {})
    (folder / "cookiecutter.yaml").write_text(
        f"replay_dir: {folder / 'replay'}\ncookiecutters_dir: {folder / 'cookiecutters'}\n"
    )
    (folder / "gitconfig").write_text("[user]\nname = Benchmark\nemail = bench@example.com\n")
    os.environ["COOKIECUTTER_CONFIG"] = str(folder / "cookiecutter.yaml")
    os.environ["GIT_CONFIG_GLOBAL"] = str(folder / "gitconfig")
    yield folder


def build(folder: Path) -> Project:
    """Bake the template and install the project with the newest versions that it accepts."""
    template = copy_template(folder / "template" / "flask-pool")
    path = bake_into(folder / "baked", template, project_slug=SLUG, docker="no", ci="none").path
    python = installing.make_environment(path / ".venv")
    installing.install(path, python, "psycopg-pool>=3.2", "pytest>=9")
    return Project(path, template)


__all__ = ["ROOT", "SLUG", "Project", "build", "clean_environment", "private_home"]
