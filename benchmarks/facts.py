"""What a reader must know to judge the figures: the machine and the versions, no names of hosts."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from .database import Data
from .load import generator
from .project import Project

PACKAGES = (
    "flask", "werkzeug", "sqlalchemy", "flask-sqlalchemy", "gunicorn", "psycopg", "psycopg-pool",
    "pymysql", "prometheus-client",
)  # fmt: skip
VERSIONS = (
    "import json, sys, importlib.metadata as m;"
    "print(json.dumps({name: m.version(name) for name in sys.argv[1:]}))"
)


def facts(project: Project, data: Data) -> dict[str, Any]:
    """Collect them."""
    versions = json.loads(project.run("sqlite://", "python", "-c", VERSIONS, *PACKAGES))
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": {
            "processor": _processor(),
            "cores": psutil.cpu_count(),
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
            "system": _system(),
            "load_before": round(os.getloadavg()[0], 2),
        },
        "load_from": "wrk" if generator() else f"aiohttp {version('aiohttp')}",
        "versions": {
            "python": platform.python_version(),
            "postgresql": data.version(),
            "cookiecutter": version("cookiecutter"),
            **versions,
        },
    }


def is_busy(found: dict[str, Any]) -> bool:
    """Tell whether others used the machine as the run began."""
    machine = found["machine"]
    return bool(machine["load_before"] > machine["cores"] / 2)


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.is_file() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0].strip() if names else platform.machine()


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()


def commit(template: Path) -> str:
    """Give the short name of the commit that holds the template, or nothing without git."""
    command = ["git", "-C", str(template), "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip()
