"""More than can be served: this worker and plain gunicorn under the same load, in turns."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from overload.service import (
    OURS,
    PLAIN,
    Generator,
    Load,
    Row,
    Service,
    compile_generator,
    result,
    serve,
)

from .database import Data
from .project import ROOT

WORKERS, THREADS = 2, 5
SIDES = {"plain gunicorn": PLAIN, "flask_pool": OURS}
FACTORS = (0.8, 1.1, 1.5, 3.0, 6.0, 20.0)
WAITS = 0.05  # seconds of the view that waits for the database
COMPUTES = 0.02  # seconds of CPU time of the view that computes
# what can be served, a second; of the two cores the load needs some, and so has less to compute on
VIEWS: dict[str, tuple[float, tuple[float, ...]]] = {
    "/database": (WORKERS * THREADS / WAITS, FACTORS),
    "/python": (WORKERS / COMPUTES, (0.5, 1.5, 3.0)),
}
TENFOLD = 10  # seconds for which the database is ten times slower
COLUMNS = ("answered in time", "median", "99 %", "refused", "left", "slowest probe")
PART = re.compile("(?<=<!-- overload: begin -->\n).*(?=<!-- overload: end -->)", re.DOTALL)

Cell = dict[str, Any]
Say = Callable[[str], None]


def measure(data: Data, seconds: float, say: Say) -> dict[str, list[Cell]]:
    """Return what both sides made of each load: of each view, and while the database is slow."""
    found: dict[str, list[Cell]] = {}
    with tempfile.TemporaryDirectory() as folder:
        generator = compile_generator(Path(folder))
        for view, (capacity, factors) in VIEWS.items():
            for factor in factors:
                say(f"overload: {view}, {factor:g} x")
                for side in SIDES:
                    with _serving(data, side) as service:
                        load = generator.run(
                            service.port, f"{factor * capacity}:{seconds}", path=view
                        )
                    possible = min(seconds * capacity, len(load.clients))
                    cell = {"load": f"{factor:g} x", "side": side, **_outcome(load, possible)}
                    found.setdefault(view, []).append(cell)
        say("overload: a database that is ten times slower")
        for side in SIDES:
            with _serving(data, side) as service:
                found.setdefault("tenfold", []).extend(_tenfold(data, side, service, generator))
    return found


@contextmanager
def _serving(data: Data, side: str) -> Iterator[Service]:
    _pace(data, WAITS)
    with (
        tempfile.TemporaryDirectory() as folder,
        serve(
            Path(folder), "--pythonpath", str(ROOT), worker=SIDES[side], workers=WORKERS,
            threads=THREADS, app="benchmarks.apps.loaded:app", SIDE=side, COMPUTES=str(COMPUTES),
            SQLALCHEMY_DATABASE_URI=data.url(),
        ) as service,
    ):  # fmt: skip
        for _ in range(2 * WORKERS * THREADS):  # every pool has connections
            service.get("/database")
        yield service


def _pace(data: Data, seconds: float) -> None:
    for statement in (
        "CREATE TABLE IF NOT EXISTS pace (seconds float)",
        "DELETE FROM pace",
        f"INSERT INTO pace VALUES ({seconds})",
    ):
        data.server.rows(statement, database=data.name)


def _tenfold(data: Data, side: str, service: Service, generator: Generator) -> Iterator[Cell]:
    """Yield what became of 80 % of the usual load before, during and after a slow time."""
    before, after = 5, 10
    capacity, _ = VIEWS["/database"]
    process = generator.start(
        service.port, f"{0.8 * capacity}:{before + TENFOLD + after}", path="/database"
    )
    time.sleep(before)
    _pace(data, 10 * WAITS)
    time.sleep(TENFOLD)
    _pace(data, WAITS)
    load = result(process)
    first = min(row.start for row in load.rows)
    for phase, begin, end, share in (
        ("before", 0, before, 1.0),
        ("ten times slower", before, before + TENFOLD, 0.1 / 0.8),
        ("after", before + TENFOLD, before + TENFOLD + after, 1.0),
    ):
        own = Load(tuple(row for row in load.rows if begin <= row.start - first < end))
        yield {"load": phase, "side": side, **_outcome(own, share * len(own.clients))}


def _outcome(load: Load, possible: float) -> Cell:
    """Return the share that was answered in time of what was possible, and how."""
    served, statuses = load.served, load.statuses
    probes: list[Row] = [row for row in load.rows if row.kind == "p"]
    return {
        "share": round(len(served) / possible, 2),
        "median_ms": round(1000 * load.within(0.5)) if served else None,
        "percentile_99_ms": round(1000 * load.within(0.99)) if served else None,
        "refused": statuses[503],
        "left": statuses[0] + statuses[-1],
        "slowest_probe": round(max(row.seconds for row in probes), 2),
    }


def rows(cells: list[Cell]) -> list[list[str]]:
    """Return the lines of a table."""
    return [
        [
            cell["load"], cell["side"], f"{cell['share']:.2f}",
            *(f"{cell[key]:,} ms" if cell[key] is not None else ""
              for key in ("median_ms", "percentile_99_ms")),
            f"{cell['refused']:,}", f"{cell['left']:,}", f"{cell['slowest_probe']:.2f} s",
        ]
        for cell in cells
    ]  # fmt: skip


def publish(found: dict[str, list[Cell]], page: Path, table: Callable[..., str]) -> None:
    """Put the tables into the page, and draw beside it what is answered in time."""
    titles = {
        "/database": f"A view that waits {1000 * WAITS:g} ms for PostgreSQL:",
        "/python": f"A view that computes for {1000 * COMPUTES:g} ms; 1 x is both cores, of which"
        " the load and the rest need some:",
        "tenfold": f"80 % of the load that can be served, and a database that is ten times slower"
        f" for {TENFOLD} s (1.00 is then a tenth):",
    }
    parts = [
        f"{title}\n\n{table(['load', 'side', *COLUMNS], rows(found[key]))}"
        for key, title in titles.items()
    ]
    text = page.read_text("utf-8")
    block = "\n\n".join(parts)
    page.write_text(PART.sub(lambda _: f"{block}\n", text), encoding="utf-8")
    draw(page.with_suffix(".svg"), found["/database"])


def draw(file: Path, cells: list[Cell]) -> None:
    """Draw the share that is answered in time, and how long health checks took."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    share, probes = figure.subplots(1, 2)
    for side, color in zip(SIDES, ("#d1602d", "#0b7a75"), strict=True):
        own = [cell for cell in cells if cell["side"] == side]
        share.plot(FACTORS, [cell["share"] for cell in own], "o-", color=color, label=side)
        probes.plot(FACTORS, [cell["slowest_probe"] for cell in own], "o-", color=color)
    share.set_ylim(0, 1.2)
    share.set_title("Answered in time, of what is possible", loc="left", fontsize=10)
    probes.set_ylim(0)
    probes.set_title("Slowest health check, seconds", loc="left", fontsize=10)
    for axes in (share, probes):
        axes.set_xscale("log")
        axes.set_xticks(FACTORS, [f"{factor:g}" for factor in FACTORS])
        axes.minorticks_off()
        axes.set_xlabel("load, as a multiple of what can be served")
        axes.spines[["top", "right"]].set_visible(False)
    share.legend(frameon=False, loc="lower left")
    figure.savefig(file)
