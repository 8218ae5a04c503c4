"""The source distributions of the peers, which hold the tests that their wheels leave out."""

from __future__ import annotations

import subprocess
from pathlib import Path

VERSION = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"


def version(python: str, name: str) -> str:
    """Give the version of a distribution that an environment holds."""
    command = [python, "-c", VERSION, name]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def unpack(python: str, name: str, archives: Path, folder: Path) -> Path:
    """Unpack the source of what an environment holds, downloaded unless it is in the archives."""
    wanted = version(python, name)
    stem = f"{name.replace('-', '_')}-{wanted}"
    archive = archives / f"{stem}.tar.gz"
    if not archive.exists():
        archives.mkdir(parents=True, exist_ok=True)
        download = [python, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        what = ["--no-deps", "--no-binary", name, "--dest", str(archives), f"{name}=={wanted}"]
        subprocess.run([*download, *what], check=True)
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["tar", "-xzf", str(archive), "-C", str(folder)], check=True)
    return folder / stem
