"""Run the views on all sides of one database, and put what differs into a table."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import servers
from faults.project import Project

INSIDE = Path(__file__).with_name("inside")
# how long all views on one side may take
PATIENCE = 150
WIDTH = 400

Server = servers.PostgreSQL | servers.MariaDB | None
Found = dict[str, dict[str, Any]]


@dataclass
class Result:
    """What the comparison on one database found."""

    runs: int
    differences: list[str] = field(default_factory=list)
    # views that came out as the recipe for SQLite has it, each with the reason that allows it
    by_recipe: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def table(self) -> str:
        """Write all differences, and one line of summary."""
        last = f"{len(self.differences)} of {self.runs} differ"
        if self.by_recipe:
            last += f"; {len(self.by_recipe)} are as SQLAlchemy's recipe for SQLite has them"
        return "\n".join([*self.differences, last])


def compare(project: Project, server: Server, *options: str) -> Result:
    """Run the views on each side, at the same time, and compare."""
    sides = ["plain", "service"] if server else ["plain", "recipe", "service"]
    with tempfile.TemporaryDirectory() as folder, quick_to_give_up(server):
        make = _databases(server, Path(folder))
        started = {}
        for side in sides:
            out = Path(folder) / side
            command = [str(INSIDE / "run.py"), side, make(), make(), str(out), *options]
            started[side] = project.start("", "python", *command), out
        try:
            return _judge({side: _finished(side, *one) for side, one in started.items()})
        finally:
            for process, _ in started.values():
                process.kill()
                process.wait(timeout=20)
                if process.stdout:
                    process.stdout.close()


@contextmanager
def quick_to_give_up(server: Server) -> Iterator[None]:
    """Have MariaDB give up waiting for a row's lock after the shortest time that it knows."""
    if not isinstance(server, servers.MariaDB):
        yield
        return
    before = server.rows("SELECT @@GLOBAL.innodb_lock_wait_timeout AS seconds")[0]["seconds"]
    server.rows("SET GLOBAL innodb_lock_wait_timeout = 1")
    try:
        yield
    finally:
        server.rows(f"SET GLOBAL innodb_lock_wait_timeout = {before}")


def _databases(server: Server, folder: Path) -> Callable[[], str]:
    """Give a function that gives the URL of an empty database."""
    if server:
        return lambda: server.url(server.create_database())
    names = iter(range(1000))
    return lambda: f"sqlite:///{folder / str(next(names))}.db"


def _finished(side: str, process: subprocess.Popen[str], out: Path) -> Found:
    said = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 0, f"{side} ended with {process.returncode}:\n{said[-6000:]}"
    found: Found = json.loads(out.read_text())
    return found


def _judge(found: dict[str, Found]) -> Result:
    plain, service = found["plain"], found["service"]
    assert plain.keys() == service.keys()
    result = Result(len(plain))
    for name, expected in plain.items():
        actual = service[name]
        allowed, reason = found.get("recipe", {}).get(name), expected["recipe"]
        if _alike(expected, actual):
            continue
        if reason and allowed and _alike(allowed | {"passes": reason}, actual):
            result.by_recipe[name] = reason
            continue
        lines = _lines("plain", expected, actual)
        if allowed and not _alike(allowed, expected):
            verdict = "service is alike" if _alike(allowed, actual) else "service is not alike"
            lines.append(f"    (the recipe differs from plain; {verdict})")
        result.differences.append("\n".join([name, *lines]))
    for side, runs in found.items():
        result.seconds[side] = sum(run["seconds"] for run in runs.values())
    return result


def _lines(title: str, expected: dict[str, Any], actual: dict[str, Any]) -> list[str]:
    lines = []
    for aspect in ASPECTS:
        before, after = expected.get(aspect), actual.get(aspect)
        if before != after:
            lines += [
                f"    {aspect:8} {title:8} {_short(before)}",
                f"    {'':8} {'service':8} {_short(after)}",
            ]
    return lines


ASPECTS = ("answers", "raised", "rows", "other", "left")


def _alike(expected: dict[str, Any], actual: dict[str, Any]) -> bool:
    """Tell whether two runs are the same to their client, to the rows and to whoever is next."""
    if expected["passes"] and _refused(actual):
        expected, actual = ({**one, "answers": None} for one in (expected, actual))
    return all(expected.get(aspect) == actual.get(aspect) for aspect in ASPECTS)


def _refused(run: dict[str, Any]) -> bool:
    answers = run["answers"]
    return isinstance(answers[-1], list) and answers[-1][0] == 503


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= WIDTH else f"{text[:WIDTH]}..."
