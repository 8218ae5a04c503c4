"""Run every view on one side and write what came of each to a file, as JSON.

python run.py plain|pool URL OTHER_URL FILE [--level LEVEL] [--only PART]...
"""

from __future__ import annotations

import argparse
import importlib
import json
import time
import warnings
from pathlib import Path
from typing import Any

import channels
from kit import VIEWS
from runner import Runner

INFRASTRUCTURE = {"kit", "tables", "schemas", "database", "databases", "sides", "run", "runner"}


def main() -> None:
    """Run the views that were asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("side")
    parser.add_argument("url")
    parser.add_argument("other")
    parser.add_argument("file", type=Path)
    parser.add_argument("--level", help="the isolation level that the engines ask for")
    parser.add_argument("--database-level", help="the one that PostgreSQL has for the database")
    parser.add_argument("--every", action="store_true", help="every script in every way")
    parser.add_argument("--only", action="append", default=[])
    wanted = parser.parse_args()
    warnings.simplefilter("ignore")
    for file in sorted(Path(__file__).parent.glob("*.py")):
        if file.stem not in INFRASTRUCTURE:
            importlib.import_module(file.stem)
    channels.register(every=wanted.every)
    runner = Runner(wanted.side, wanted.url, wanted.other, wanted.level)
    if wanted.database_level:
        runner.database.default_level(wanted.database_level)
    found: dict[str, Any] = {}
    for name, one in VIEWS.items():
        if runner.side.family in one.on and (
            not wanted.only or any(part in name for part in wanted.only)
        ):
            for way in one.ways:
                started = time.perf_counter()
                found[f"{way} {name}"] = runner.run(one, way) | {
                    "passes": one.passes,
                    "seconds": round(time.perf_counter() - started, 3),
                }
    wanted.file.write_text(json.dumps(found, default=str))


if __name__ == "__main__":
    main()
