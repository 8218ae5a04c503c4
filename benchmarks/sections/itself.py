"""The project itself: the time of a bake and of its own tests, and its lines."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.project import SLUG, Project, clean_environment, guarded_folder

COOKIECUTTER = [sys.executable, "-m", "cookiecutter", "--no-input"]


def measure(bench: Bench) -> None:
    """Bake and test in turns, count the lines."""
    project = bench.project
    kinds: dict[str, Callable[[], object]] = {
        "bake_seconds": lambda: _bake(project.template),
        "own_tests_seconds": lambda: _test(project, "--ignore", "tests/pool"),
        "all_tests_seconds": lambda: _test(project),
    }
    # what was found stays if something fails later
    found = bench.found["project"] = _lines(project.path / "src" / SLUG)
    for kind, run in kinds.items():
        taken: list[float] = []
        repeats = bench.scale.repeats if kind == "bake_seconds" else 1
        while len(taken) < repeats and bench.clock.allows(kind, 10):
            started = time.perf_counter()
            run()
            taken.append(time.perf_counter() - started)
        if taken:
            found[kind] = round(statistics.median(taken), 2)


def _bake(template: Path) -> None:
    subprocess.run(
        [*COOKIECUTTER, "--output-dir", str(guarded_folder()), str(template)],
        env=clean_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        timeout=60,
        check=True,
    )


def _test(project: Project, *arguments: str) -> None:
    subprocess.run(
        [project.program("python"), "-m", "pytest", "-q", *arguments],
        cwd=project.path,
        env=clean_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        timeout=180,
        check=True,
    )


def _lines(package: Path) -> dict[str, float]:
    """Count what is not blank; migrations are the tools'."""
    pool, ops = package / "pool", package / "pool" / "ops"
    found: dict[str, float] = {"service_lines": 0, "core_lines": 0, "ops_lines": 0}
    for file in package.rglob("*.py"):
        if package / "migrations" in file.parents:
            continue
        within = "ops" if ops in file.parents else "core" if pool in file.parents else "service"
        found[f"{within}_lines"] += sum(bool(line.strip()) for line in file.open())
    return found
