"""The command: `python -m benchmarks`, with `tests` on PYTHONPATH; `make bench` does that."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from pathlib import Path

from . import overload, plot, report
from .database import on_postgresql
from .measure import CLIENTS, FULL, QUICK, Bench, Scale
from .project import ROOT, build, private_home
from .sections import SECTIONS
from .service import check_gunicorn

FOLDER = Path(__file__).with_name("results")
PAGE = ROOT / "docs" / "benchmarks.md"


def main() -> None:
    """Measure, show, and keep what was found; only a whole run replaces the published figures."""
    asked = arguments().parse_args()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # through each finally
    whole = not (asked.quick or asked.only)
    results = run(QUICK if asked.quick else FULL, set(asked.only or SECTIONS))
    block = report.block(results)
    file = FOLDER / ("latest" if whole else "partial")
    file.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
    file.with_suffix(".md").write_text(block, "utf-8")
    picture = PAGE.with_name("benchmark.svg") if whole else file.with_suffix(".svg")
    plot.draw(results, picture)
    if whole:
        before, heading, rest = PAGE.read_text("utf-8").partition("## Measured\n")
        after = rest[rest.index("\n## ") :]
        PAGE.write_text(f"{before}{heading}\n{block}{after}", "utf-8")
        if "overload" in results:
            page = PAGE.with_name("overload.md")
            overload.publish(results["overload"], page, report.table)
    print(f"\n{block}\nkept in {file.relative_to(ROOT)}.json")


def arguments() -> argparse.ArgumentParser:
    """Describe the command line."""
    sections = "\n".join(f"  {name:8} {one.__doc__}" for name, one in SECTIONS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=f"Measure the baked service side by side with others.\n\nsections:\n{sections}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="3 minutes instead of 20")
    parser.add_argument(
        "--only", nargs="+", choices=SECTIONS, metavar="SECTION", help="only these sections"
    )
    return parser


def run(scale: Scale, wanted: set[str]) -> report.Results:
    """Build, serve, measure, clean up."""
    with private_home() as home:
        print("     baking and installing", flush=True)
        bench = Bench(build(home), scale)
        check_gunicorn(bench.project)
        with on_postgresql(bench.project) as data:
            facts = bench.found["facts"] = {"clients": CLIENTS, **bench.project.facts()}
            facts["versions"]["postgresql"] = data.version()
            if facts["load_before"] > facts["cores"] / 2:
                bench.say("others use this machine now: rates will be noise, counts will not")
            for name in (name for name in SECTIONS if name in wanted):
                try:
                    SECTIONS[name](bench, data)
                except (OSError, RuntimeError, subprocess.SubprocessError) as error:
                    # what else was found is kept
                    bench.say(f"{name} failed: {error}")
                    bench.found["left_out"].append(f"{name}: {type(error).__name__}")
    return bench.found


if __name__ == "__main__":
    main()
