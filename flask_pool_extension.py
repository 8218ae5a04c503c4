"""The words that cookiecutter.json, the project's files and the hooks use, as Jinja filters.

cookiecutter and cruft put the template's folder at the end of the import path, so the name of this
module is one that nobody else has. It also runs where the hooks refuse to: on Python 3.7 to 3.9.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import click
from cookiecutter.config import get_user_config  # type: ignore[import-untyped]
from cookiecutter.exceptions import CookiecutterException  # type: ignore[import-untyped]
from cookiecutter.utils import work_in  # type: ignore[import-untyped]
from jinja2 import Environment, Template, pass_environment
from jinja2.ext import Extension
from slugify import slugify

STORED = "{{cookiecutter.project_slug}}"
SCHEMES = {
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}
SECRET = re.compile("pass|pwd|secret|token|scram", re.IGNORECASE)


def package_name(project_name: object) -> str:
    """Return the project's name in lower case, ASCII and underscores."""
    name = slugify(str(project_name), separator="_", max_length=80)
    return (f"service_{name}" if name[:1].isdigit() else name or "service")[:80].rstrip("_")


def slug_as_given(answers: dict[str, Any]) -> str:
    """Return the slug; put another in its place if it is none, as the folder comes before hooks."""
    slug = str(answers["project_slug"])
    if not re.fullmatch(r"\w{1,80}", slug, re.ASCII):
        answers["project_slug"] = "refused_project_slug"
    return slug


def scheme(url: object) -> str:
    """Return the scheme of a database URL with the driver of this template."""
    return SCHEMES.get(re.split(r"\+|://", str(url))[0], "sqlite")


def driver(url: object) -> str:
    """Return which of the three drivers a database URL needs: postgresql, mysql or sqlite."""
    return "mysql" if "pymysql" in scheme(url) else scheme(url).partition("+")[0]


def masked(url: object) -> str:
    """Return a database URL with its driver, and with *** for each password in it."""
    place, mark, query = str(url).partition("://")[2].partition("?")
    place = re.sub("^([^:/]*):[^/]*@", r"\1:***@", place)
    pairs = (item.partition("=") for item in query.split("&"))
    query = "&".join(
        name + equals + ("***" if SECRET.search(name) else value) for name, equals, value in pairs
    )
    return f"{scheme(url)}://{place}{mark}{query}"


def toml(value: object) -> str:
    """Return a text as TOML writes it, quotes included."""
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def generated_files(answers: dict[str, Any]) -> list[str]:
    """Return every file that cookiecutter writes for these answers, before a hook removes some."""
    folder = Path(__file__).with_name(STORED)
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name.replace(STORED, answers["project_slug"]) for name in names)


def library_wheel() -> Path:
    """Return the library's wheel, which the project carries."""
    (wheel,) = Path(__file__).with_name(STORED).glob("vendor/*.whl")
    return wheel


@pass_environment
def library_template(environment: Environment, name: str) -> Template:
    """Return a template of the library, to include it."""
    with ZipFile(library_wheel()) as wheel:
        return environment.from_string(wheel.read(f"flask_pool/{name}").decode())


def kept_copy(answers: dict[str, Any]) -> list[str]:
    """Say where cookiecutter keeps these answers; nothing under cruft, which does not."""
    if "_repo_dir" not in answers:
        return []
    place = "the replay_dir of its settings"
    command = click.get_current_context(silent=True)
    given = command.params if command else {}
    with suppress(CookiecutterException, OSError, ValueError), work_in(start_folder()):
        settings = get_user_config(given.get("config_file"), given.get("default_config", False))
        copies = Path(settings["replay_dir"]).absolute().glob("*.json")
        newest = max(copies, key=os.path.getmtime)
        # whoever calls cookiecutter from Python may have given it other settings
        if json.loads(newest.read_text("utf-8")).get("cookiecutter") == answers:
            place = str(newest)
    return [f"cookiecutter keeps your answers, with any password in them, in {place}."]


def start_folder() -> Path:
    """Return where the command was started: hooks are rendered in the template's folder."""
    command = click.get_current_context(silent=True)
    folder: Path = command.meta.setdefault(__name__, Path.cwd()) if command else Path.cwd()
    return folder


def copy_mark() -> str:
    """Mark the copy of a hook, to find it if it is interrupted before it can remove itself."""
    mark = os.urandom(16).hex()
    atexit.register(remove_copies, mark.encode())
    return mark


def remove_copies(mark: bytes) -> None:
    """Remove the temporary files that hold this mark, as cookiecutter ends."""
    for copy in Path(tempfile.gettempdir()).glob("tmp*.py"):
        with suppress(OSError):
            if mark in copy.read_bytes():
                copy.unlink()


class Answers(Extension):
    """Makes the functions above known to cookiecutter's environment."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        start_folder()
        forget_this_module()
        filters = (package_name, slug_as_given, scheme, driver, masked, toml)
        for function in (*filters, generated_files, kept_copy):
            environment.filters[function.__name__] = function
        environment.globals["copy_mark"] = copy_mark
        environment.globals["library_wheel"] = library_wheel
        environment.globals["library_template"] = library_template


def forget_this_module() -> None:
    """Have it read anew next time: `cruft update` loads one version of it after another."""
    sys.modules.pop(__name__, None)
    with suppress(OSError, TypeError):
        # a compiled copy is told by time and size alone, and a checkout takes less than a second
        cached = Path(__spec__.cached or "")
        cached.unlink()
        cached.parent.rmdir()
