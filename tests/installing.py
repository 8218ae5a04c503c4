"""Install a baked project on the source of the library, in place of the wheel that it carries."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import uv
from bake import ROOT


def make_environment(folder: Path) -> str:
    """Make a virtual environment, and return its interpreter."""
    command = [uv.find_uv_bin(), "venv", "--quiet", "--python", sys.executable, str(folder)]
    subprocess.run(command, check=True)
    return str(folder / "bin" / "python")


def install(project: Path, python: str, *packages: str, resolution: str = "highest") -> None:
    """Install the project, all drivers, and other packages, with the versions of a resolution."""
    extras, others = dependencies(project)
    library = f"{ROOT}[{extras},mysql,postgresql]"
    target = ["pip", "install", "--quiet", "--python", python]
    for arguments in (
        ["--resolution", resolution, "--editable", library, *others, *packages],
        ["--no-deps", "--editable", str(project)],
    ):
        command = [uv.find_uv_bin(), *target, *arguments]
        subprocess.run(command, cwd=project, check=True, timeout=300)


def dependencies(project: Path) -> tuple[str, list[str]]:
    """Return the extras of the library that the project asks for, and its other dependencies."""
    settings = tomllib.loads((project / "pyproject.toml").read_text("utf-8"))
    given: list[str] = settings["project"]["dependencies"]
    (extras,) = re.findall(r"^flask-pool\[(.*?)\]", "\n".join(given), re.MULTILINE)
    return extras, [name for name in given if not name.startswith("flask-pool[")]
