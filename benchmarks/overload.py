"""More than can be served: this worker and plain gunicorn under the same open-loop load, in turns.

python -m benchmarks.overload [--seconds 6] [--plot docs/overload.svg] [--write docs/overload.md]
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from overload.service import OURS, PLAIN, Generator, Load, compile_generator, serve

WORKERS, THREADS, VIEW = 2, 5, 0.05  # seconds that the view sleeps
CAPACITY = WORKERS * THREADS / VIEW
FACTORS = (0.8, 1.1, 1.5, 3.0, 6.0, 20.0)
SIDES = {"plain gunicorn": PLAIN, "flask_pool": OURS}
PART = re.compile("(?<=<!-- overload: begin -->\n).*(?=<!-- overload: end -->)", re.DOTALL)


@dataclass(frozen=True)
class Cell:
    """What one side made of one load."""

    factor: float
    side: str
    seconds: float
    load: Load

    @property
    def share(self) -> float:
        """Answered in time, as a share of what arrived or could be served, whichever is less."""
        possible = min(self.seconds * CAPACITY, len(self.load.clients))
        return len(self.load.served) / possible

    @property
    def row(self) -> str:
        """A line of the table."""
        statuses = self.load.statuses
        times = [self.load.within(0.5), self.load.within(0.99)] if self.load.served else [0, 0]
        shown = [f"{self.factor:g} x", self.side, f"{self.share:.2f}"]
        shown += [f"{1000 * seconds:,.0f} ms" for seconds in times]
        shown += [f"{statuses[503]:,}", f"{statuses[0] + statuses[-1]:,}"]
        shown += [f"{self.load.slowest_probe:.2f} s"]
        return f"| {' | '.join(shown)} |"


HEAD = """\
| load | side | answered in time | median | 99 % | refused | left | slowest probe |
| --- | --- | --- | --- | --- | --- | --- | --- |"""


def measure(generator: Generator, factor: float, side: str, seconds: float) -> Cell:
    """Run one load against one side."""
    with (
        tempfile.TemporaryDirectory() as folder,
        serve(Path(folder), worker=SIDES[side], workers=WORKERS, threads=THREADS) as service,
    ):
        found = generator.run(service.port, f"{factor * CAPACITY}:{seconds}")
    return Cell(factor, side, seconds, found)


def draw(file: Path, cells: list[Cell]) -> None:
    """Draw the share of the capacity that is answered in time."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.subplots()
    for side, color in zip(SIDES, ("#b8b8b8", "#1f4e79"), strict=True):
        own = [cell for cell in cells if cell.side == side]
        axes.plot([c.factor for c in own], [c.share for c in own], "o-", color=color, label=side)
    axes.set_xscale("log")
    axes.set_xticks(FACTORS, [f"{factor:g} x" for factor in FACTORS])
    axes.minorticks_off()
    axes.set_ylim(0, 1.1)
    axes.set_xlabel("load, as a multiple of what can be served")
    axes.set_title("Answered in time, as a share of what is possible", loc="left", fontsize=10)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file)


def main() -> None:
    """Measure, print the table, and draw if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--factors", type=float, nargs="+", default=FACTORS)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--write", type=Path, help="put the table into this page")
    arguments = parser.parse_args()
    cells = []
    with tempfile.TemporaryDirectory() as folder:
        generator = compile_generator(Path(folder))
        for factor in arguments.factors:
            for side in SIDES:
                cells.append(measure(generator, factor, side, arguments.seconds))
                sys.stderr.write(f"{cells[-1].row}\n")
    table = "\n".join([HEAD, *[cell.row for cell in cells]])
    print(table)
    if arguments.write:
        text = arguments.write.read_text("utf-8")
        arguments.write.write_text(PART.sub(f"{table}\n", text), encoding="utf-8")
    if arguments.plot:
        draw(arguments.plot, cells)


if __name__ == "__main__":
    main()
