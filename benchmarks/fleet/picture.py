"""The picture: where each step breaks, how pools wait, and what a restart does."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.plot import INK, PALE, STYLE, _logarithmic

from .day import play
from .queues import mean_wait
from .report import HOLD, Found, digest
from .steps import LADDER, Fleet, most_instances

COLOURS = ("#9b2226", "#d1602d", "#e8a87c", "#5b5ea6", "#9b9ede", "#7aa6c2", "#3f8f5b", "#0b7a75")
POOLS = {5: "#d1602d", 100: "#0b7a75"}
RESTARTS = {  # by their place in day.RESTARTS
    3: ("direct, 4,000 instances", "#9b2226"),
    4: ("PgBouncer, server_login_retry 15", "#9b9ede"),
    5: ("PgBouncer, 1: 4,000 instances", "#5b5ea6"),
    6: ("PgBouncer, 3,000 instances", "#7aa6c2"),
    7: ("replicas, a pooler per node: 10,000", "#0b7a75"),
}
POINTS = [round(10 ** (tenth / 10)) for tenth in range(61)]


def draw(found: Found, tables: str, file: Path) -> None:
    """Draw what was played into an SVG or PNG file, which names the tables it belongs to."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11, 7.6), layout="constrained", facecolor="white")
        grid = figure.add_gridspec(2, 6, height_ratios=(1.15, 1), hspace=0.1)
        _ladder(figure.add_subplot(grid[0, :]))
        _pools(figure.add_subplot(grid[1, :2]), found)
        _refused(figure.add_subplot(grid[1, 2:4]), found)
        _waits(figure.add_subplot(grid[1, 4:]), found)
        figure.supxlabel(
            "a simulation, python -m benchmarks.fleet: 10 requests a second of each instance at"
            f" noon, 10 % of them writes, servers of 48 cores; seed {found.seed}",
            fontsize=8,
            color=PALE,
        )
        metadata = {"Date": None, "Description": digest(tables)} if file.suffix == ".svg" else None
        figure.savefig(file, dpi=110, metadata=metadata)


def _ladder(axes: Axes) -> None:
    """Show what share of a day's requests each step refuses, and where that begins."""
    axes.set_title("Requests of a day that are refused, %", fontsize=13, pad=12)
    for step, colour in zip(LADDER, COLOURS, strict=True):
        most = most_instances(step)
        points = sorted({*(one for one in POINTS if one > most), most, most + 1})
        days = [play(Fleet(step, point), restart=False) for point in points]
        shares = [100 * day.refused / day.arrived for day in days]
        axes.plot([0.05, *points], [0, *shares], color=colour, linewidth=2)
        axes.plot([most], [0], "o", color=colour, markersize=5, clip_on=False, zorder=4)
    _logarithmic(axes, "x")
    axes.set_xlim(0.05, 3e6)
    axes.set_xticks([10**power for power in range(7)])
    axes.set_xticks([], minor=True)
    axes.set_ylim(0, 112)
    axes.set_xlabel("instances; a dot is the most that a step carries")
    axes.grid(visible=True)
    axes.set_axisbelow(True)
    _legend(axes, [f"{step.name}: {most_instances(step):,}" for step in LADDER], COLOURS)


def _legend(axes: Axes, names: list[str], colours: tuple[str, ...]) -> None:
    for number, (name, colour) in enumerate(zip(names, colours, strict=True)):
        place = (0.01, 0.93 - 0.075 * number)
        axes.text(*place, name, color=colour, transform=axes.transAxes, fontweight="bold")


def _pools(axes: Axes, found: Found) -> None:
    axes.set_title("A pool's mean wait, in holds")
    for connections, colour in POOLS.items():
        loads = [0.5 + percent / 100 for percent in range(47)]
        waits = [mean_wait(connections, load * connections / HOLD, HOLD) / HOLD for load in loads]
        axes.plot([100 * load for load in loads], waits, color=colour, linewidth=1.6)
        played = [one for one in found.pools if one.connections == connections]
        dots = [one.wait / HOLD for one in played]
        axes.plot([100 * one.load for one in played], dots, "o", color=colour, markersize=5)
    axes.text(72, 1.2, "pools of 5", color=POOLS[5], fontweight="bold")
    axes.text(80, 0.004, "one of 100", color=POOLS[100], fontweight="bold", ha="right")
    axes.set_ylim(1e-3, 10)
    axes.set_xlabel("load of a connection, %; dots played, lines Erlang C")
    axes.grid(visible=True)
    axes.set_axisbelow(True)
    _logarithmic(axes, "y")


def _refused(axes: Axes, found: Found) -> None:
    axes.set_title("Restart of a primary: refused, %")
    _moments(axes, found, 1, 100, 45)
    axes.set_ylim(0, 105)


def _waits(axes: Axes, found: Found) -> None:
    axes.set_title("... seconds that the next one has waited")
    _moments(axes, found, 2, 1, 130)
    axes.set_ylim(0, 24)
    for number, (name, colour) in enumerate(RESTARTS.values()):
        place = (0.97, 0.95 - 0.07 * number)
        axes.text(*place, name, color=colour, transform=axes.transAxes, ha="right", fontsize=8)


def _moments(axes: Axes, found: Found, column: int, factor: float, until: float) -> None:
    for place, (_, colour) in RESTARTS.items():
        moments = [one for one in found.restarts[place][1].moments if -5 <= one.time <= until]
        axes.plot(
            [moment.time for moment in moments],
            [factor * moment[column] for moment in moments],
            color=colour,
            linewidth=1.8,
        )
    axes.set_xlabel("seconds since it went away, for 10")
    axes.grid(visible=True)
    axes.set_axisbelow(True)
    axes.spines["bottom"].set_color(INK)
