"""The picture: the main comparison as bars, and how it changes with network, load and size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from .candidates import TITLES
from .tables import Results, by_clients, cells

# one colour for each candidate in every panel, so that the bars are the legend
COLOURS = {
    "baked": "#0b7a75",
    "pre_ping": "#d1602d",
    "defaults": "#e8a87c",
    "unpooled": "#9b2226",
    "by_hand": "#5b5ea6",
    "autocommit": "#9b9ede",
    "fixed": "#c9ced6",
}
INK, PALE = "#1f2933", "#6b7785"
STYLE: Any = {
    "font.family": "DejaVu Sans",
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
    "svg.hashsalt": "flask-pool",
}
Value = Callable[[dict[str, Any]], float]


def draw(results: Results, file: Path) -> None:
    """Draw what was measured into an SVG or PNG file."""
    if not cells(results, "users"):
        return  # the bars are the legend of all else
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11, 7.2), layout="constrained", facecolor="white")
        grid = figure.add_gridspec(2, 6, height_ratios=(1.15, 1), hspace=0.1)
        _bars(figure.add_subplot(grid[0, :4]), results)
        _network(figure.add_subplot(grid[0, 4:]), results)
        _clients(figure.add_subplot(grid[1, :2]), results)
        _rows(figure.add_subplot(grid[1, 2:4]), results)
        _workers(figure.add_subplot(grid[1, 4:]), results)
        facts = results["facts"]
        versions = facts["versions"]
        figure.supxlabel(
            f"gunicorn, 8 threads a worker; PostgreSQL {versions['postgresql']}, "
            f"SQLAlchemy {versions['sqlalchemy']}, Python {versions['python']}; everything on "
            f"{facts['machine']['cores']} cores; {facts['date']}",
            fontsize=8,
            color=PALE,
        )
        metadata = {"Date": None} if file.suffix == ".svg" else None
        figure.savefig(file, dpi=110, metadata=metadata)


def _bars(axes: Axes, results: Results) -> None:
    """Show the main comparison, the fastest first, with the round trips behind it."""
    axes.set_title("Requests per second: GET /users, 8 clients, 1 worker", fontsize=13, pad=12)
    found = [
        result
        for cell in cells(results, "users")
        for result in cell["results"]
        if result["candidate"] in COLOURS
    ]
    found.sort(key=lambda result: float(result["requests_per_second"]))
    names = [TITLES[result["candidate"]] for result in found]
    rates = [result["requests_per_second"] for result in found]
    bars = axes.barh(names, rates, color=[COLOURS[one["candidate"]] for one in found], height=0.68)
    axes.bar_label(bars, [_said(result, results) for result in found], padding=6, color=INK)
    axes.set_xlim(0, 1.3 * max(rates, default=1))
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(axis="x", bottom=False, labelbottom=False)
    axes.tick_params(axis="y", length=0, labelsize=10)
    for label, result in zip(axes.get_yticklabels(), found, strict=True):
        is_baked = result["candidate"] == "baked"
        label.set(color=INK, fontweight="bold" if is_baked else "normal")


def _said(result: dict[str, Any], results: Results) -> str:
    trips = {
        one["candidate"]: one["routes"]["GET /users"]["round_trips"]
        for one in results.get("counts", [])
    }
    text = f"{result['requests_per_second']:,.0f}"
    if result["candidate"] in trips:
        number = trips[result["candidate"]]
        text += f"   {number:g} round trip{'s' * (number != 1)}"
    return text


def _network(axes: Axes, results: Results) -> None:
    axes.set_title("... with a network to the database")
    near: list[tuple[float, dict[str, Any]]] = [(0, cell) for cell in cells(results, "users")]
    far = [
        (cell["delay_ms"], cell)
        for cell in cells(results, "latency")
        if cell["route"] == "GET /users"
    ]
    _lines(axes, near + far if far else [], _rate)
    axes.set_xlabel("milliseconds each way")
    axes.set_xticks([delay for delay, _ in near + far])
    _logarithmic(axes, "y")


def _clients(axes: Axes, results: Results) -> None:
    axes.set_title("99th percentile, ms")
    _lines(
        axes,
        [(cell["clients"], cell) for cell in by_clients(results)],
        lambda result: float(result["percentile_99_ms"]),
    )
    axes.set_xlabel("clients")
    _logarithmic(axes, "x", "y")
    _ticks(axes, by_clients(results), "clients")


def _rows(axes: Axes, results: Results) -> None:
    axes.set_title("CPU time of one request, ms")
    _lines(
        axes,
        [(cell["rows"], cell) for cell in cells(results, "rows")],
        lambda result: float(result["cpu_ms"]),
    )
    axes.set_xlabel("rows read")
    axes.set_ylim(bottom=0)
    _logarithmic(axes, "x")
    _ticks(axes, cells(results, "rows"), "rows")


def _workers(axes: Axes, results: Results) -> None:
    axes.set_title("Requests per second, 32 clients")
    found = cells(results, "workers")
    _lines(axes, [(cell["workers"], cell) for cell in found], _rate)
    axes.set_xlabel("workers")
    axes.set_ylim(bottom=0)
    axes.set_xticks([cell["workers"] for cell in found])
    axes.yaxis.set_major_formatter(FuncFormatter(_plain))


def _lines(axes: Axes, found: list[tuple[float, dict[str, Any]]], value: Value) -> None:
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
            width, order = (2.6, 3) if key == "baked" else (1.6, 2)
            across, up = zip(*points[key], strict=True)
            axes.plot(across, up, "o-", color=colour, linewidth=width, markersize=4, zorder=order)


def _rate(result: dict[str, Any]) -> float:
    return float(result["requests_per_second"])


def _logarithmic(axes: Axes, *directions: str) -> None:
    for direction in directions:
        axes.set(**{f"{direction}scale": "log"})
        axis = getattr(axes, f"{direction}axis")
        axis.set_major_formatter(FuncFormatter(_plain))
        axis.set_minor_formatter(NullFormatter())


def _ticks(axes: Axes, found: list[dict[str, Any]], by: str) -> None:
    axes.set_xticks([cell[by] for cell in found])
    axes.set_xticks([], minor=True)


def _plain(value: float, _position: object) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"
