"""The picture: the main comparison as bars, and how it changes with network, load and size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from .candidates import TITLES
from .fleet import LADDER, Fleet, lost, most_instances
from .tables import Results, cells

# one colour for each candidate in every panel, so that the bars are the legend
COLOURS = {
    "baked": "#0b7a75",
    "untouched": "#0b7a75",
    "prototype": "#c9ced6",
    "pre_ping": "#d1602d",
    "defaults": "#e8a87c",
    "unpooled": "#9b2226",
    "by_hand": "#5b5ea6",
    "autocommit": "#9b9ede",
}
LINES = {0: "-", 1: "--", 5: ":"}  # by milliseconds each way
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
Value = Callable[[dict[str, Any]], float]


def draw(results: Results, file: Path) -> None:
    """Draw what was measured into an SVG or PNG file."""
    main = cells(results, section="view", workers=1)
    if not main:
        return  # the bars are the legend of all else
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11, 7.2), layout="constrained", facecolor="white")
        grid = figure.add_gridspec(2, 6, height_ratios=(1.15, 1), hspace=0.1)
        _bars(figure.add_subplot(grid[0, :4]), main[0])
        _network(figure.add_subplot(grid[0, 4:]), results)
        _cpu(figure.add_subplot(grid[1, :2]), main[0])
        _sample(figure.add_subplot(grid[1, 2:4]), results)
        _threads(figure.add_subplot(grid[1, 4:]), results)
        facts = results["facts"]
        versions = facts["versions"]
        figure.supxlabel(
            f"gunicorn, {facts['gunicorn']['threads']} threads a worker on every side, nothing "
            f"pinned; PostgreSQL {versions['postgresql']}, SQLAlchemy {versions['sqlalchemy']}, "
            f"Python {versions['python']}; everything on {facts['machine']['cores']} cores; "
            f"{facts['date']}",
            fontsize=8,
            color=PALE,
        )
        metadata = {"Date": None} if file.suffix == ".svg" else None
        figure.savefig(file, dpi=110, metadata=metadata)


def _bars(axes: Axes, cell: dict[str, Any]) -> None:
    """Show the main comparison, the fastest first."""
    axes.set_title("Requests per second: the same view, 8 clients, 1 worker", fontsize=13, pad=12)
    found = _shown(cell)
    found.sort(key=_rate)
    names = [TITLES[result["candidate"]] for result in found]
    bars = _row(axes, names, found, [_rate(result) for result in found])
    axes.bar_label(bars, [f"{_rate(result):,.0f}" for result in found], padding=6, color=INK)
    axes.tick_params(axis="y", length=0, labelsize=10)
    for label, result in zip(axes.get_yticklabels(), found, strict=True):
        is_baked = result["candidate"] == "baked"
        label.set(color=INK, fontweight="bold" if is_baked else "normal")


def _cpu(axes: Axes, cell: dict[str, Any]) -> None:
    axes.set_title("CPU time of one request, ms")
    found = _shown(cell)
    found.sort(key=lambda result: float(result["cpu_ms"]), reverse=True)
    names = [result["candidate"] for result in found]
    bars = _row(axes, names, found, [float(result["cpu_ms"]) for result in found])
    axes.bar_label(bars, [f"{result['cpu_ms']:.2f}" for result in found], padding=4, color=INK)
    axes.set_yticks([])


def _shown(cell: dict[str, Any]) -> list[dict[str, Any]]:
    return [result for result in cell["results"] if result["candidate"] in COLOURS]


def _row(
    axes: Axes, names: list[str], found: list[dict[str, Any]], values: list[float]
) -> BarContainer:
    colours = [COLOURS[result["candidate"]] for result in found]
    axes.set_xlim(0, 1.3 * max(values, default=1))
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(axis="x", bottom=False, labelbottom=False)
    return axes.barh(names, values, color=colours, height=0.68)


def _network(axes: Axes, results: Results) -> None:
    axes.set_title("... with a network to the database")
    _by_delay(axes, results, "GET /same")


def _sample(axes: Axes, results: Results) -> None:
    axes.set_title("GET /users; blue: psycopg_pool")
    _by_delay(axes, results, "GET /users")


def _by_delay(axes: Axes, results: Results, route: str) -> None:
    near = cells(results, route=route, clients=8, workers=1, delay_ms=0)
    far = cells(results, section="latency", route=route, clients=8)
    found = [cell for cell in near if cell["section"] in ("view", "sample")] + far
    _lines(axes, [(cell["delay_ms"], cell) for cell in found], _rate)
    axes.set_xlabel("milliseconds each way")
    axes.set_xticks([cell["delay_ms"] for cell in found])
    _logarithmic(axes, "y")


def _threads(axes: Axes, results: Results) -> None:
    axes.set_title("Requests per second by threads")
    found = cells(results, section="threads")
    axes.set_visible(bool(found))
    for delay, line in LINES.items():
        some = [cell for cell in found if cell["delay_ms"] == delay]
        _lines(axes, [(cell["threads"], cell) for cell in some], _rate, line)
    axes.set_visible(bool(found))
    axes.set_xlabel("threads (dashed: 1 ms, dotted: 5 ms)")
    axes.set_ylim(bottom=0)
    axes.set_xticks(sorted({cell["threads"] for cell in found}))
    axes.yaxis.set_major_formatter(FuncFormatter(_plain))


def _lines(
    axes: Axes, found: list[tuple[float, dict[str, Any]]], value: Value, style: str = "-"
) -> None:
    """Draw a line for each candidate over what was varied; no panel for what was not measured."""
    axes.set_visible(bool(found))
    axes.grid(visible=True)
    axes.set_axisbelow(True)
    points: dict[str, list[tuple[float, float]]] = {}
    for at, cell in found:
        for result in cell["results"]:
            points.setdefault(result["candidate"], []).append((at, value(result)))
    for key, colour in COLOURS.items():
        # a candidate that was measured at one place only has no line
        if len(points.get(key, [])) > 1:
            width, order = (2.6, 3) if key in ("baked", "untouched") else (1.6, 2)
            across, up = zip(*points[key], strict=True)
            axes.plot(
                across, up, "o" + style, color=colour, linewidth=width, markersize=4, zorder=order
            )


def _rate(result: dict[str, Any]) -> float:
    return float(result["requests_per_second"])


def _logarithmic(axes: Axes, *directions: str) -> None:
    for direction in directions:
        axes.set(**{f"{direction}scale": "log"})
        axis = getattr(axes, f"{direction}axis")
        axis.set_major_formatter(FuncFormatter(_plain))
        axis.set_minor_formatter(NullFormatter())


def _plain(value: float, _position: object) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def draw_fleet(file: Path) -> None:
    """Draw what share of a day's requests each step of docs/scale.md loses, and from where on."""
    colours = (*COLOURS.values(), "#7aa6c2", "#3f8f5b")[1:]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11, 4.6), layout="constrained", facecolor="white")
        axes = figure.subplots()
        for step, colour in zip(LADDER, colours, strict=False):
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
