"""Bake the template into projects, as the tests do it: in this process, hooks and all."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cookiecutter.generate import generate_context  # type: ignore[import-untyped]
from cookiecutter.main import cookiecutter  # type: ignore[import-untyped]
from cookiecutter.prompt import prompt_for_config  # type: ignore[import-untyped]
from cookiecutter.utils import create_env_with_context  # type: ignore[import-untyped]

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 300  # seconds for a command; the deadline only ends a run that would never end
FOLDER = "{{cookiecutter.project_slug}}"
PROMPTS: tuple[str, ...] = tuple(
    key for key in json.loads((ROOT / "cookiecutter.json").read_text()) if not key.startswith("_")
)


class Refused(Exception):
    """The template refused answers; `lines` has one line for each."""

    def __init__(self, output: str) -> None:
        super().__init__(output)
        self.lines = [line for line in output.splitlines() if line.partition(": ")[0] in PROMPTS]
        self.prompts = [line.partition(": ")[0] for line in self.lines]


@dataclass(frozen=True)
class BakedProject:
    """A project that the template made: where it lies and what the hooks said."""

    path: Path
    answers: dict[str, str]
    output: str

    @property
    def slug(self) -> str:
        """Return the name of the project's folder and package."""
        return self.path.name

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in the project's folder; fail with its output if it fails."""
        done = subprocess.run(
            command, cwd=self.path, capture_output=True, text=True, check=False, timeout=PATIENCE
        )
        if check and done.returncode:
            raise AssertionError(f"{command} gave {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    def files(self) -> set[str]:
        """Return every file but those of git, as paths relative to the project's folder."""
        found = (path.relative_to(self.path) for path in self.path.rglob("*") if path.is_file())
        return {path.as_posix() for path in found if path.parts[0] != ".git"}

    def text(self, name: str) -> str:
        """Return the text of one file, line ends (and what is no text, in pictures) untouched."""
        return (self.path / name).read_bytes().decode(errors="surrogateescape")


def bake_into(folder: Path, template: Path | str = ROOT, /, **answers: str) -> BakedProject:
    """Bake the template into a folder; raise Refused if it does not accept the answers."""
    return _bake(folder, template, answers, overwrite=False)


def bake_over(folder: Path, template: Path | str = ROOT, /, **answers: str) -> BakedProject:
    """Bake again over the project that lies in the folder."""
    return _bake(folder, template, answers, overwrite=True)


def _bake(
    folder: Path, template: Path | str, answers: dict[str, str], *, overwrite: bool
) -> BakedProject:
    with captured() as output, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # cookiecutter's own
        try:
            path = cookiecutter(
                str(template),
                no_input=True,
                extra_context=answers,
                output_dir=str(folder),
                overwrite_if_exists=overwrite,
            )
        except Exception as error:  # of cookiecutter, Jinja or the file system
            raise Refused(f"{output()}\n{error}") from error
        return BakedProject(Path(path), answers, output())


def private_values(**answers: str) -> dict[str, str]:
    """Return all of cookiecutter's values for these answers, the derived ones too."""
    context = generate_context(str(ROOT / "cookiecutter.json"), extra_context=answers)
    with extension_path():
        values: dict[str, str] = prompt_for_config(context, no_input=True)
    return values


def rendered(text: str, **answers: str) -> str:
    """Render a piece of template code as cookiecutter does, with these answers."""
    context = generate_context(str(ROOT / "cookiecutter.json"))
    with extension_path():
        return str(create_env_with_context(context).from_string(text).render(cookiecutter=answers))


@contextmanager
def extension_path() -> Iterator[None]:
    """Let Jinja find the template's extension, as cookiecutter and cruft do."""
    sys.path.append(str(ROOT))
    try:
        yield
    finally:
        sys.path.remove(str(ROOT))


def copy_template(target: Path) -> Path:
    """Copy the template, without what tools left in it, and commit it to a repository."""
    copy_files(target)
    git(target, "init", "--quiet")
    commit(target, "the template")
    git(target, "clean", "-dfxq")  # empty folders, as in a clone
    return target


def copy_files(target: Path) -> None:
    """Copy the template's own files, without what tools left in it."""
    junk = shutil.ignore_patterns("__pycache__", ".*_cache", ".git")
    for name in ("cookiecutter.json", "flask_pool_extension.py", "hooks", FOLDER):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target / name, ignore=junk)
        else:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def commit(repository: Path, message: str) -> None:
    """Commit all that is in the repository's folder."""
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", message)


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder and return what it prints."""
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=True, timeout=PATIENCE)
    return done.stdout.decode(errors="replace")


@contextmanager
def captured() -> Iterator[Callable[[], str]]:
    """Send what this process and the hooks print to a file; yield a function that reads it."""
    with tempfile.TemporaryFile() as file:

        def read() -> str:
            file.seek(0)  # reading leaves the place, which all share, at the end again
            return file.read().decode(errors="replace")

        saved = os.dup(1), os.dup(2)
        for number in (1, 2):
            os.dup2(file.fileno(), number)
        try:
            yield read
        finally:
            for number, descriptor in enumerate(saved, start=1):
                os.dup2(descriptor, number)
                os.close(descriptor)
