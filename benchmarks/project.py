"""The baked project, installed as its users install it, with what its references need."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import installing
from bake import bake_into, copy_template
from servers.workshop import make_folder

SLUG = "measured"
NOWHERE = "postgresql+psycopg://user:password@127.0.0.1:1/nowhere"
SECRET = "only-for-the-benchmarks"
# what belongs to the process that measures
FOREIGN = {"DATABASE_URL", "PYTHONPATH", "VIRTUAL_ENV", "PROMETHEUS_MULTIPROC_DIR", "FLASK_APP"}
GIT_CONFIG = "[user]\nname = A Benchmark\nemail = benchmark@example.com\n"


@dataclass(frozen=True)
class Project:
    """A baked project in an environment of its own, and the template that it came from."""

    path: Path
    template: Path

    def program(self, name: str) -> str:
        """Give the path of a program in the project's environment."""
        return str(self.path / ".venv" / "bin" / name)

    def environment(self, url: str, **settings: object) -> dict[str, str]:
        """Give the variables of a process on a database."""
        own = {"SECRET_KEY": SECRET, "FLASK_APP": SLUG, "SQLALCHEMY_DATABASE_URI": url}
        return clean_environment() | own | {name: str(value) for name, value in settings.items()}

    @cached_property
    def threads(self) -> int:
        """Give the number of threads that a worker has if nobody says how many."""
        return int(self.gunicorn()["threads"])

    def gunicorn(self, *arguments: str, **settings: object) -> dict[str, str]:
        """Give all of gunicorn's settings as it would start with these arguments."""
        shown = self.run(NOWHERE, "gunicorn", "--print-config", *arguments, **settings)
        lines = (line.partition(" = ") for line in shown.splitlines())
        return {name.strip(): value for name, equals, value in lines if equals}

    def run(self, url: str, *command: str, **settings: object) -> str:
        """Run one of the environment's programs in the project's folder; give what it prints."""
        done = subprocess.run(
            [self.program(command[0]), *command[1:]],
            cwd=self.path,
            env=self.environment(url, **settings),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{command} gave {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout


def clean_environment() -> dict[str, str]:
    """Give this process's variables but those that would change a project's behaviour."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in FOREIGN and not name.startswith(("SQLALCHEMY_", "TOX", "WEB_"))
    }


@contextmanager
def private_home() -> Iterator[Path]:
    """Give a folder for all that is built, and keep it apart from the user's own settings."""
    folder = guarded_folder()
    (folder / "cookiecutter.yaml").write_text(
        f"replay_dir: {folder / 'replay'}\ncookiecutters_dir: {folder / 'cookiecutters'}\n"
    )
    (folder / "gitconfig").write_text(GIT_CONFIG)
    os.environ["COOKIECUTTER_CONFIG"] = str(folder / "cookiecutter.yaml")
    os.environ["GIT_CONFIG_GLOBAL"] = str(folder / "gitconfig")
    yield folder


def guarded_folder() -> Path:
    """Make a folder that goes away with this process, however that ends."""
    return make_folder("bench", {})


def build(folder: Path) -> Project:
    """Bake the template and install the project with the newest versions that it accepts."""
    template = copy_template(folder / "template" / "flask-pool")
    path = bake_into(folder / "baked", template, project_slug=SLUG, docker="no", ci="none").path
    installing.install(
        path, installing.make_environment(path / ".venv"), "psycopg-pool>=3.2", "pytest>=9"
    )
    return Project(path, template)
