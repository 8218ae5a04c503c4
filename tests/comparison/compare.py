"""Run the views on both sides of one database, and put what differs into a table."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import servers

INSIDE = Path(__file__).with_name("inside")
SOURCE = Path(__file__).resolve().parents[2] / "src"
# seconds for all views on one side: below pytest's own limit for a test, which says less
LIMIT = 540
WIDTH = 400

Server = servers.PostgreSQL | servers.MariaDB | None
Found = dict[str, dict[str, Any]]


@dataclass
class Result:
    """What the comparison on one database found."""

    runs: int
    differences: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def table(self) -> str:
        """Write all differences, and one line of summary."""
        last = f"{len(self.differences)} of {self.runs} differ"
        return "\n".join([*self.differences, last])


def compare(server: Server, *options: str) -> Result:
    """Run the views on each side, at the same time, and compare."""
    with tempfile.TemporaryDirectory() as folder, quick_to_give_up(server):
        make = _databases(server, Path(folder))
        started = {}
        for side in ("plain", "pool"):
            out = Path(folder) / side
            started[side] = _start(side, make(), make(), str(out), *options), out
        try:
            return _judge({side: _finished(side, *one) for side, one in started.items()})
        finally:
            for process, _ in started.values():
                process.kill()
                process.wait(timeout=20)
                if process.stdout:
                    process.stdout.close()


def _start(*arguments: str) -> subprocess.Popen[str]:
    """Start the views of one side on the library's source."""
    return subprocess.Popen(
        [sys.executable, str(INSIDE / "run.py"), *arguments],
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


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
    said = process.communicate(timeout=LIMIT)[0]
    assert process.returncode == 0, f"{side} ended with {process.returncode}:\n{said[-6000:]}"
    found: Found = json.loads(out.read_text())
    return found


def _judge(found: dict[str, Found]) -> Result:
    plain, pool = found["plain"], found["pool"]
    assert plain.keys() == pool.keys()
    result = Result(len(plain))
    for name, expected in plain.items():
        if not _alike(expected, pool[name]):
            result.differences.append("\n".join([name, *_lines(expected, pool[name])]))
    for side, runs in found.items():
        result.seconds[side] = sum(run["seconds"] for run in runs.values())
    return result


def _lines(expected: dict[str, Any], actual: dict[str, Any]) -> list[str]:
    lines = []
    for aspect in ASPECTS:
        before, after = expected.get(aspect), actual.get(aspect)
        if before != after:
            lines += [
                f"    {aspect:8} plain {_short(before)}",
                f"    {'':8} pool  {_short(after)}",
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
