"""What is measured; the names are the words that `--only` takes."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from servers import missing_programs

from . import overload as past
from .database import Data, on_mariadb
from .measure import CREATE, NOW, READ, USERS, WRITE, Bench, count
from .project import ROOT, SLUG, clean_environment
from .service import (
    AUTOCOMMIT,
    BAKED,
    BY_HAND,
    DEFAULTS,
    PRE_PING,
    UNPOOLED,
    UNTOUCHED,
    Candidate,
    Service,
    serving,
)

# the first of each is what ratios refer to
ENGINES = (BAKED, DEFAULTS, PRE_PING)
READERS = (UNTOUCHED, BY_HAND, AUTOCOMMIT)


def near(bench: Bench, data: Data) -> None:
    """The database beside it: reads, transactions, writes; 1 and 2 workers; the sample's routes."""
    with serving((*ENGINES, UNPOOLED, BY_HAND), bench.project, data) as services:
        bench.compare("near", services, READ, main=True)
        bench.compare("near", services[:3], NOW)
        bench.compare("near", services[:3], WRITE)
    with serving(ENGINES, bench.project, data, WEB_CONCURRENCY=2) as services:
        bench.compare("near", services, READ, main=True)
    with serving(READERS, bench.project, data) as services:
        bench.compare("near", services, USERS, main=True)
        bench.compare("near", services, CREATE)


def far(bench: Bench, data: Data) -> None:
    """The database 1 and 5 ms away, each way."""
    for candidates, route in (((*ENGINES, UNPOOLED), READ), (READERS, USERS)):
        with serving(candidates, bench.project, data, counted=True) as services:
            for delay in bench.scale.delays:
                _set_delay(services, delay)
                bench.compare("far", services, route)


def _set_delay(services: Sequence[Service], milliseconds: float) -> None:
    for service in services:
        if service.proxy:
            service.proxy.delay_to_server = service.proxy.delay_to_client = milliseconds / 1000


def cpu(bench: Bench, data: Data) -> None:
    """CPU time of one WSGI call inside one process, and what each listener takes of it."""
    for name, times in (("cpu", bench.scale.slices), ("listeners", 100 * bench.scale.slices)):
        if bench.allows(name, 30):
            bench.say(f"{name}: calls in one process")
            command = ("python", "-m", f"benchmarks.{name}", str(times))
            bench.found[name] = json.loads(bench.project.run(data.url(), *command, PYTHONPATH=ROOT))
            data.refill()


def counts(bench: Bench, data: Data) -> None:
    """Round trips and connections of one request."""
    _count(bench, data, (UNTOUCHED, BY_HAND, AUTOCOMMIT, PRE_PING, DEFAULTS, UNPOOLED))


def _count(bench: Bench, data: Data, candidates: Sequence[Candidate]) -> None:
    with serving(candidates, bench.project, data, counted=True) as services:
        if bench.allows(f"counts on {data.kind}", 20):
            bench.say(f"counts on {data.kind}")
            found = [count(service, bench.scale.repeats) for service in services]
            bench.found.setdefault("counts", {})[data.kind] = found
            data.refill()


def overload(bench: Bench, data: Data) -> None:
    """More than can be served, with clients that do not wait for each other."""
    if bench.allows("overload", 35 * bench.scale.overload + 80):
        bench.found["overload"] = past.measure(data, bench.scale.overload, bench.say)


def mariadb(bench: Bench, _data: Data) -> None:
    """Round trips, reads and writes on MariaDB."""
    if missing := missing_programs().get("mariadb"):
        bench.found["left_out"].append(missing)
        return
    with on_mariadb(bench.project) as data:
        bench.found["facts"]["versions"]["mariadb"] = data.version()
        _count(bench, data, (UNTOUCHED, PRE_PING, DEFAULTS))
        with serving(ENGINES, bench.project, data) as services:
            bench.compare("mariadb", services, READ)
            bench.compare("mariadb", services, WRITE)


def project(bench: Bench, _data: Data) -> None:
    """The project itself: time of a bake and of its own tests, lines of Python."""
    bench.say("the project itself")
    path, template = bench.project.path, bench.project.template
    files = [file for file in path.rglob("*.py") if ".venv" not in file.parts]
    lines = {file: sum(bool(line.strip()) for line in file.open()) for file in files}
    service = path / "src" / SLUG
    own = [file for file in files if service in file.parents and "migrations" not in file.parts]
    out = str(path.parent / "again")
    cookiecutter = [sys.executable, "-m", "cookiecutter", "--no-input", "--overwrite-if-exists"]
    repeats = range(bench.scale.repeats)
    loaded = min(_seconds([sys.executable, "-c", "import cookiecutter.main"]) for _ in repeats)
    baked = min(_seconds([*cookiecutter, "-o", out, str(template)]) for _ in repeats)
    bench.found["project"] = {
        "service_lines": sum(lines[file] for file in own),
        "all_lines": sum(lines.values()),
        "bake_seconds": round(baked - loaded, 2),
        "test_seconds": round(
            _seconds([bench.project.program("python"), "-m", "pytest", "-q"], str(path)), 1
        ),
    }


# Linux tells resident pages of 4 KiB; `ru_maxrss` would be the parent's
IDLE = """
import time
began = time.perf_counter()
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
app, db = Flask("app"), SQLAlchemy()
app.config["SQLALCHEMY_DATABASE_URI"] = "postgresql+psycopg:///app"
{}
with app.app_context():
    db.engine
print(time.perf_counter() - began, int(open("/proc/self/statm").read().split()[1]) / 256)
"""
STARTS = {
    "defaults": "db.init_app(app)",
    "pool": "from flask_pool import Pool; Pool(app, db)",
}


def idle(bench: Bench, data: Data) -> None:
    """Seconds until an application is there, and its memory, without a request."""
    bench.say("idle: an application without a request")
    found = {}
    for kind, line in STARTS.items():
        times = [
            [
                float(each)
                for each in bench.project.run(data.url(), "python", "-c", IDLE.format(line)).split()
            ]
            for _ in range(3 * bench.scale.repeats)
        ]
        found[kind] = {
            "seconds": round(min(seconds for seconds, _ in times), 2),
            "mebibytes": round(statistics.median(memory for _, memory in times), 1),
        }
    bench.found["idle"] = found


def _seconds(command: list[str], folder: str | None = None) -> float:
    started = time.perf_counter()
    subprocess.run(
        command, cwd=folder, env=clean_environment(), capture_output=True, timeout=180, check=True
    )
    return time.perf_counter() - started


SECTIONS: dict[str, Callable[[Bench, Data], None]] = {
    one.__name__: one for one in (counts, cpu, idle, near, far, overload, mariadb, project)
}
