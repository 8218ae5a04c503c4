"""The command: `python -m benchmarks`, with `tests` on PYTHONPATH; `make bench` does that."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path
from types import FrameType

from bake import ROOT
from rich.console import Console

from . import markdown, plot, report
from .plan import FULL, QUICK
from .run import Results, run
from .sections import NAMES

FOLDER = Path(__file__).with_name("results")
DOCS = ROOT / "docs"
PAGE = DOCS / "benchmarks.md"


def main() -> None:
    """Measure, show, and keep what was found."""
    asked = arguments().parse_args()
    signal.signal(signal.SIGTERM, _end)
    console = Console(width=None if sys.stdout.isatty() else 160)
    if asked.redraw:
        results: Results = json.loads((FOLDER / "latest.json").read_text())
        _keep(results, "latest")
        report.show(results, console)
        _draw(results, "latest")
        return
    wanted = set(asked.only or NAMES)
    # only a whole run may replace the published figures
    name = "partial" if asked.quick or asked.only else "latest"
    results = run(QUICK if asked.quick else FULL, wanted, console.print)
    _keep(results, name)
    report.show(results, console)
    _draw(results, name)
    console.print(f"\nkept in {(FOLDER / f'{name}.json').relative_to(ROOT)}")


def arguments() -> argparse.ArgumentParser:
    """Describe the command line."""
    sections = "\n".join(f"  {name:10} {what}" for name, what in NAMES.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=f"Measure the baked service side by side with others.\n\nsections:\n{sections}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="2 minutes instead of 15")
    parser.add_argument(
        "--only", nargs="+", choices=NAMES, metavar="SECTION", help="only these sections"
    )
    parser.add_argument(
        "--redraw", action="store_true", help="measure nothing: show the latest results again"
    )
    return parser


def _keep(results: Results, name: str) -> None:
    """Write the data and the block of figures; a whole run replaces the documentation's."""
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n")
    block = markdown.block(results)
    (FOLDER / f"{name}.md").write_text(block)
    if name == "latest":
        before, heading, rest = PAGE.read_text("utf-8").partition("## Measured\n")
        after = rest[rest.index("\n## ") :]
        PAGE.write_text(f"{before}{heading}\n{block}{after}", "utf-8")


def _draw(results: Results, name: str) -> None:
    picture = DOCS / "benchmark.svg" if name == "latest" else FOLDER / "partial.svg"
    plot.draw(results, picture)


def _end(number: int, frame: FrameType | None) -> None:
    """Leave through every `finally`."""
    del frame
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
