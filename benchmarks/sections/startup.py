"""What a start costs: time and imports of the application and of its command."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from typing import Any

from benchmarks.bench import Bench
from benchmarks.candidates import APPS
from benchmarks.project import SLUG, Project

NOWHERE = "postgresql+psycopg://user:password@127.0.0.1/nowhere"
# the module of each application, and what makes it
APPLICATIONS = {
    "baked": (SLUG, "create_app()"),
    "pre_ping": ("tutorial", "pre_ping()"),
    "fixed": ("fixed", "create_app()"),
}
CREATE = """
import sys, time
before, started = len(sys.modules), time.perf_counter()
import {module}
{module}.{call}
took = time.perf_counter() - started
packages = sorted({{name.partition(".")[0] for name in sys.modules}})
print(took, len(sys.modules) - before, *packages)
"""


def measure(bench: Bench) -> None:
    """Start each application in turns."""
    times: dict[str, dict[str, list[float]]] = {
        key: {"create_app": [], "flask_help": []} for key in APPLICATIONS
    }
    found: dict[str, dict[str, Any]] = {key: {} for key in APPLICATIONS}
    for _ in range(bench.scale.repeats):
        if not bench.clock.allows("rounds of the start", 5):
            break
        for key, (module, call) in APPLICATIONS.items():
            took, imports, *packages = _run(
                bench.project, "-c", CREATE.format(module=module, call=call)
            ).split()
            times[key]["create_app"].append(float(took))
            found[key] |= {"create_app_imports": int(imports), "packages": packages}
            started = time.perf_counter()
            _run(bench.project, "-m", "flask", "--app", _app(module, call), "--help")
            times[key]["flask_help"].append(time.perf_counter() - started)
    for key, (module, call) in APPLICATIONS.items():
        asked = ("-X", "importtime", "-m", "flask", "--app", _app(module, call), "--help")
        found[key]["flask_help_imports"] = _run(bench.project, *asked).count("import time:") - 1
        for what, taken in times[key].items():
            if taken:
                found[key][f"{what}_ms"] = round(1000 * statistics.median(taken), 1)
    base = set(found["pre_ping"].get("packages", ()))
    more = [name for name in found["baked"].get("packages", ()) if name not in base]
    bench.found["startup"] = {
        "applications": {
            key: {name: value for name, value in facts.items() if name != "packages"}
            for key, facts in found.items()
        },
        # third-party and standard packages that the baked service imports on top of the tutorial's
        "baked_imports_more": [name for name in more if not name.startswith("_")],
    }


def _app(module: str, call: str) -> str:
    return f"{module}:{call}"


def _run(project: Project, *arguments: str) -> str:
    """Run Python in the project's environment; give all that it prints."""
    environment = project.environment(NOWHERE, PYTHONPATH=APPS)
    done = subprocess.run(
        [project.program("python"), *arguments],
        cwd=project.path,
        env=environment | {"NO_COLOR": "1", "PATH": os.environ.get("PATH", "")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{arguments} gave {done.returncode}:\n{done.stdout}")
    return done.stdout
