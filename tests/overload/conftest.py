"""What tests of the queue share: the load generator, and gunicorn in two versions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .service import Generator, compile_generator

LOWEST, NEWEST = "23.0.0", "27.0.1"  # gunicorn, as far as the worker is tested


@pytest.fixture(scope="session")
def load(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    """Return the open-loop load generator."""
    return compile_generator(tmp_path_factory.mktemp("load"))


@pytest.fixture(scope="session")
def gunicorns(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return folders with gunicorn's lowest and newest version, for PYTHONPATH."""
    found = {}
    for version in (LOWEST, NEWEST):
        folder = tmp_path_factory.mktemp(version)
        install = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--target", str(folder)]
        subprocess.run([*install, f"gunicorn=={version}"], check=True)
        found[version] = str(folder)
    return found


@pytest.fixture(params=[LOWEST, NEWEST])
def gunicorn(request: pytest.FixtureRequest, gunicorns: dict[str, str]) -> str:
    """Return the folder of one version of gunicorn."""
    return gunicorns[str(request.param)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder for a server's files."""
    return tmp_path
