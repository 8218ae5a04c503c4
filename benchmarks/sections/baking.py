"""The time of a bake against cookiecutter's own floor, and of the way to the first answer."""

from __future__ import annotations

import shutil
import signal
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from bake import FOLDER
from servers import wait_until
from servers.process import Server, running

from benchmarks.bench import Bench
from benchmarks.project import clean_environment, guarded_folder, install

COOKIECUTTER = [sys.executable, "-m", "cookiecutter", "--no-input"]


def bake(bench: Bench) -> None:
    """Bake in turns: one empty file, the template without its hooks, the template."""
    folder = guarded_folder()
    templates = _templates(folder, bench.project.template)
    times: dict[str, list[float]] = {kind: [] for kind in templates}
    for turn in range(bench.scale.repeats):
        if not bench.clock.allows("rounds of the bake", 5):
            break
        for kind, template in templates.items():
            times[kind].append(_bake(template, folder / f"{kind}-{turn}"))
    bench.found["bake"] = {
        f"{kind}_seconds": round(statistics.median(taken), 3)
        for kind, taken in times.items()
        if taken
    }


def _templates(folder: Path, template: Path) -> dict[str, Path]:
    floor = folder / "floor"
    (floor / FOLDER).mkdir(parents=True)
    (floor / FOLDER / "empty").touch()
    (floor / "cookiecutter.json").write_text('{"project_slug": "floor"}')
    without_hooks = folder / "without_hooks"
    shutil.copytree(template, without_hooks, ignore=shutil.ignore_patterns("hooks", ".git"))
    return {"floor": floor, "without_hooks": without_hooks, "template": template}


def _bake(template: Path, target: Path, *answers: str) -> float:
    started = time.perf_counter()
    subprocess.run(
        [*COOKIECUTTER, "--output-dir", str(target), str(template), *answers],
        env=clean_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        timeout=60,
        check=True,
    )
    return time.perf_counter() - started


class FirstRun(Server):
    """The baked project as its user starts it for the first time."""

    name = "first"
    quit_signal = signal.SIGTERM

    def __init__(self, path: Path, *command: str) -> None:
        super().__init__({}, {})
        self.path = path
        self._command = list(command)

    def command(self) -> list[str]:
        """Give the command line."""
        return self._command

    def ask(self) -> bool:
        """Ask for the users, as the first request of all."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/users", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            if self.process and self.process.poll() is not None:
                raise RuntimeError(f"it did not start:\n{self.log()[-2000:]}") from None
            return False

    def start(self) -> None:
        """Start the command and wait for the first answer; an installation may take long."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.path,
                env=clean_environment() | {"HOST": "127.0.0.1", "PORT": str(self.port)},
                start_new_session=True,
            )
        (self.folder / "pid").write_text(str(self.process.pid))
        wait_until(self.ask, 120)

    def remove(self) -> None:
        """End the command and all that it started."""
        self.stop(crash=True)
        super().remove()


def first(bench: Bench) -> None:
    """Time a new user's way on SQLite: bake, install, migrate, serve, ask."""
    found: dict[str, dict[str, float]] = {}
    folder, slug = guarded_folder(), "first_service"
    baked = _bake(bench.project.template, folder, f"project_slug={slug}")
    path = folder / slug
    started = time.perf_counter()
    install(path, ".")
    installed = time.perf_counter() - started
    served = _serve(path, str(path / ".venv" / "bin" / "python"), "-m", slug)
    found["with_uv"] = {"bake": baked, "install": installed, "migrate and serve": served}
    if shutil.which("make") and bench.clock.allows("make run", 45):
        shutil.rmtree(path / ".venv")
        shutil.rmtree(path / "instance", ignore_errors=True)
        made = _serve(path, "make", "run", f"PYTHON={sys.executable}")
        found["with_make"] = {"bake": baked, "make run": made}
    bench.found["first_answer"] = {
        way: {step: round(seconds, 2) for step, seconds in steps.items()}
        | {"total": round(sum(steps.values()), 2)}
        for way, steps in found.items()
    }


def _serve(path: Path, *command: str) -> float:
    started = time.perf_counter()
    with running(FirstRun(path, *command)):
        return time.perf_counter() - started
