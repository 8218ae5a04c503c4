"""The pictures: the main comparison as bars, by the network's length, and the fleet's steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from .fleet import LADDER, Fleet, lost, most_instances

# one colour for each candidate in every panel, so that the bars are the legend
COLOURS = {
    "baked": "#0b7a75",
    "untouched": "#0b7a75",
    "pre_ping": "#d1602d",
    "defaults": "#e8a87c",
    "unpooled": "#9b2226",
    "by_hand": "#5b5ea6",
    "autocommit": "#9b9ede",
}
STEPS = (
    "#d1602d", "#e8a87c", "#9b2226", "#5b5ea6", "#9b9ede", "#7aa6c2", "#3f8f5b", "#0b7a75",
)  # fmt: skip
INK, PALE = "#1f2933", "#6b7785"
STYLE: Any = {
    # where the reader has no DejaVu Sans
    "font.family": ["DejaVu Sans", "sans-serif"],
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": PALE,
    "axes.edgecolor": "#c9ced6",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "xtick.color": PALE,
    "ytick.color": PALE,
    "grid.color": "#eceff3",
    "svg.fonttype": "none",  # text, and no outlines of it
    "svg.hashsalt": "flask-pool",
}


def draw(results: dict[str, Any], file: Path) -> None:
    """Draw what was measured into an SVG or PNG file."""
    # the fleet's picture needs no servers
    from .measure import READ, USERS  # noqa: PLC0415
    from .service import TITLES  # noqa: PLC0415

    cells = [cell for cell in results["cells"] if cell["database"] == "PostgreSQL"]
    one_worker = [cell for cell in cells if cell["workers"] == 1]
    main = [cell for cell in one_worker if cell["route"] == READ and not cell["delay_ms"]]
    if not main:
        return  # the bars are the legend of all else
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11, 6), layout="constrained", facecolor="white")
        grid = figure.add_gridspec(2, 2, height_ratios=(1.15, 1), hspace=0.1)
        found = sorted(main[0]["results"], key=lambda one: float(one["requests_per_second"]))
        for place, key, name in ((0, "requests_per_second", "Requests/s"), (1, "cpu_ms", "CPU ms")):
            axes = figure.add_subplot(grid[0, place])
            values = [one[key] for one in found]
            names = [TITLES[one["candidate"]] for one in found]
            colours = [COLOURS[one["candidate"]] for one in found]
            bars = axes.barh(names, values, color=colours, height=0.68)
            axes.bar_label(bars, [f"{value:,.4g}" for value in values], padding=5, color=INK)
            axes.set(
                title=f"{name}: the same view, 8 clients, 1 worker", xlim=(0, 1.3 * max(values))
            )
            axes.set_xticks([])
            if place:
                axes.set_yticks([])
        for place, route in enumerate((READ, USERS)):
            axes = figure.add_subplot(grid[1, place])
            _by_delay(axes, [cell for cell in one_worker if cell["route"] == route])
            axes.set_title(f"Requests/s of {route} with a network to the database")
        facts = results["facts"]
        versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
        figure.supxlabel(f"{versions}; {facts['date']}", fontsize=8, color=PALE)
        figure.savefig(file, dpi=110, metadata={"Date": None} if file.suffix == ".svg" else None)


def _by_delay(axes: Axes, cells: list[dict[str, Any]]) -> None:
    """Draw a line for each candidate that was measured in more than one place."""
    points: dict[str, list[tuple[float, float]]] = {}
    for cell in cells:
        for one in cell["results"]:
            point = cell["delay_ms"], one["requests_per_second"]
            points.setdefault(one["candidate"], []).append(point)
    lines = {key: sorted(found) for key, found in points.items() if len(found) > 1}
    for key, found in lines.items():
        axes.plot(*zip(*found, strict=True), "o-", color=COLOURS[key], linewidth=1.8, markersize=4)
    axes.set_visible(bool(lines))
    axes.set_xlabel("milliseconds each way")
    axes.set_xticks(sorted({cell["delay_ms"] for cell in cells}))
    axes.grid(visible=True)
    _logarithmic(axes, "y")


def _logarithmic(axes: Axes, direction: str) -> None:
    axes.set(**{f"{direction}scale": "log"})
    axis = getattr(axes, f"{direction}axis")
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axis.set_minor_formatter(NullFormatter())


def draw_fleet(file: Path) -> None:
    """Draw what share of a day's requests each step of docs/scale.md loses, and from where on."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11, 4.6), layout="constrained", facecolor="white")
        axes = figure.subplots()
        for step, colour in zip(LADDER, STEPS, strict=True):
            most = most_instances(step)
            points = [round(10 ** (tenth / 10)) for tenth in range(61)]
            points = [most, most + 1, *(point for point in points if point > most + 1)]
            shares = [100 * lost(Fleet(step, point)) for point in points]
            name = f"{step.name}: {most:,}"
            axes.plot([0.05, *points], [0, *shares], "o-", color=colour, label=name, markevery=[1])
        _logarithmic(axes, "x")
        axes.set(xlim=(0.05, 3e6), ylim=(0, 112), xticks=[10**power for power in range(7)])
        axes.set_title("Requests of a day that are not served, %", fontsize=13)
        axes.set_xlabel(
            "instances; a dot: the most that a step carries. python -m benchmarks.fleet"
        )
        axes.legend(frameon=False, loc="upper left", labelcolor="linecolor")
        figure.savefig(file, dpi=110, metadata={"Date": None} if file.suffix == ".svg" else None)
