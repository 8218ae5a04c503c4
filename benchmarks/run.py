"""One run: build, serve, measure, clean up."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

import servers
from bake import ROOT

from .bench import Bench
from .candidates import BAKED, PRE_PING, UNTOUCHED
from .database import Data, on_postgresql
from .facts import commit, facts, is_busy
from .plan import Clock, Scale
from .project import build, private_home
from .sections import far, itself, maria, near, threads
from .service import same_gunicorn

Results = dict[str, Any]
# of gunicorn's settings, which are all the same on every side
SHOWN = ("worker_class", "threads", "keepalive", "backlog", "worker_connections", "worker_tmp_dir")


def run(scale_: Scale, wanted: set[str], say: Callable[[str], object]) -> Results:
    """Measure the sections that are wanted; whatever happens, nothing stays behind."""
    clock = Clock(scale_.limit)
    with private_home() as home:

        def told(what: str) -> None:
            say(f"{clock.spent:4.0f} s  {what}")

        told("baking and installing")
        bench = Bench(build(home), scale_, clock, told)
        gunicorn = same_gunicorn(bench.project, (UNTOUCHED, BAKED, PRE_PING))
        with on_postgresql(bench.project) as data:
            found = facts(bench.project, data) | {"commit": commit(ROOT)}
            found["gunicorn"] = {name: gunicorn[name] for name in SHOWN}
            if is_busy(found):
                told("others use this machine now: the rates will be noise, the counts will not")
            _on_postgresql(bench, data, wanted)
        _alone(bench, wanted)
        if "mariadb_version" in bench.found:
            found["versions"]["mariadb"] = bench.found.pop("mariadb_version")
    found["took_seconds"] = round(clock.spent)
    found["left_out"] = clock.left_out
    return {"facts": found, "cells": bench.cells, **bench.found}


def _on_postgresql(bench: Bench, data: Data, wanted: set[str]) -> None:
    _try(bench, "near", lambda: near.measure(bench, data, wanted))
    _try(bench, "far", lambda: far.measure(bench, data, wanted))
    if "threads" in wanted:
        _try(bench, "threads", lambda: threads.measure(bench, data))


def _alone(bench: Bench, wanted: set[str]) -> None:
    if "mariadb" in wanted and _is_there(bench, "mariadb"):
        _try(bench, "mariadb", lambda: maria.measure(bench))
    if "project" in wanted and bench.clock.allows("project", 10):
        bench.say("the project itself")
        _try(bench, "project", lambda: itself.measure(bench))


def _try(bench: Bench, name: str, measure: Callable[[], object]) -> None:
    """Measure, and keep what else was found if that fails."""
    try:
        measure()
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        bench.say(f"{name} failed: {error}")
        bench.clock.left_out.append(f"{name}: {type(error).__name__}")


def _is_there(bench: Bench, program: str) -> bool:
    missing = servers.missing_programs().get(program)
    if missing:
        bench.clock.left_out.append(missing)
    return not missing and bench.clock.allows(program, 10)
