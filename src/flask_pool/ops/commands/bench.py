"""`flask pool bench`: what pooling gains for this service on its own database."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import click
from flask import current_app
from flask.cli import with_appcontext
from sqlalchemy import event
from sqlalchemy.engine import Engine

from ...options import is_memory
from ..server import place
from . import output, overload
from .latency import far_away
from .measure import rounds, variants
from .promises import own_creator

FAR = output.Number(0, 10_000)
PORTS = {"psycopg": 5432, "pymysql": 3306}
COLUMNS = ("Pool", "Requests/s", "Range", "Ratio", "Median ms", "95 % ms", "Opened", "Failed")


def is_path(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """Return the path, if it is one of this service."""
    if not (value.startswith("/") and value.isascii() and value.isprintable()):
        raise click.BadParameter(f"{value!r}: a path such as /users")
    return value


@click.command("bench")
@output.option("--seconds", type=output.Number(0.5, 3600), default=12.0, help="For all of it.")
@output.option("--rounds", "number", type=click.IntRange(1, 100), default=5, help="Repetitions.")
@output.option("--threads", type=click.IntRange(1, 1000), help="[default: WEB_THREADS]")
@output.option("--path", default="/users", callback=is_path, help="What is requested.")
@output.option("--simulate-latency", "far", type=FAR, metavar="MS", help="Of each round trip.")
@output.option("--plot", type=click.Path(path_type=Path), help="A picture: FILE.svg or FILE.png.")
@output.format_option("table", "json")
@with_appcontext
def command(
    seconds: float, number: int, threads: int | None, path: str, far: float | None,
    plot: Path | None, form: str,
) -> None:  # fmt: skip
    """Compare this service unpooled and with three kinds of pool.

    Threads of this process call the service (WSGI); there is no HTTP server and no network
    between them, so real requests a second are fewer, and differences in the database's part
    are what to look at. Only GET requests are sent, and nothing is left behind.

    Example: flask pool bench --simulate-latency 2 --plot bench.svg
    """
    engine: Engine = current_app.extensions["flask_pool"].engines["default"]
    if is_memory(engine.url):
        raise click.ClickException("in-memory SQLite is its one connection: nothing to compare")
    if plot:
        check_plot(plot)
    with engine.connect():  # or say why not
        pass
    threads = threads or current_app.extensions["flask_pool"].settings["WEB_THREADS"]
    with detour(engine, far):
        results = run(path, threads, number, seconds)
    past = overload.past_capacity(path, threads, seconds / 3)
    away = f", database {far:g} ms away" if far else ""
    title = f"GET {path} by {threads} threads of one process{away}"
    if form == "json":
        found = {"path": path, "threads": threads, "latency_ms": far or 0, "results": results}
        output.dump(found | {"overload": past})
    else:
        click.echo(f"{title}, no HTTP server; {place(engine.url)}")
        click.echo(f"{number} rounds in turns after a warm-up; medians, ratio to unpooled\n")
        output.show(output.table(COLUMNS, map(_row, results)))
        if past:
            click.echo(f"\n{overload.sentence(past)}")
    if plot:
        draw(plot, results, title)


def run(path: str, threads: int, number: int, seconds: float) -> list[dict[str, Any]]:
    """Measure all variants, with a progress bar for whoever looks."""
    found = variants()
    slices = len(found) * (number + 1)
    steps = rounds(found, path, threads, number, seconds / slices)
    shown = sys.stderr if sys.stderr.isatty() else StringIO()
    try:
        with click.progressbar(steps, slices, file=shown) as progress:
            deque(progress, maxlen=0)
    finally:
        for variant in found:
            variant.engine.dispose()
    return [variant.result(found[0]) for variant in found]


@contextmanager
def detour(engine: Engine, milliseconds: float | None) -> Iterator[None]:
    """Have connections lead to the same database over a simulated network."""
    if not milliseconds:
        yield
        return
    url, driver = engine.url, engine.dialect.driver
    if driver not in PORTS or not url.host or own_creator(engine):
        raise click.ClickException("--simulate-latency: the database is not reached over TCP")
    with far_away(url.host, url.port or PORTS[driver], milliseconds) as port:
        # psycopg keeps the host's name, for its certificate
        host = {"hostaddr" if driver == "psycopg" else "host": "127.0.0.1", "port": port}

        def connect(dialect: Any, record: object, cargs: Any, cparams: dict[str, Any]) -> Any:
            return dialect.connect(*cargs, **{**cparams, **host})

        event.listen(engine, "do_connect", connect)
        engine.dispose()
        try:
            yield
        finally:
            event.remove(engine, "do_connect", connect)
            engine.dispose()


def _row(found: dict[str, Any]) -> list[str]:
    line = (
        "{variant}|{requests_per_second:,.0f}|{lowest:,.0f} to {highest:,.0f}|{ratio:.2f}"
        "|{median_ms:.2f}|{percentile_95_ms:.2f}|{opened}|{failed}"
    )
    return line.format(**found).split("|")


def check_plot(file: Path) -> None:
    """Refuse a picture that can't be drawn before anything is measured."""
    if file.suffix not in (".svg", ".png"):
        raise click.UsageError("--plot: FILE.svg or FILE.png")
    there = file.exists()
    with _writing(file):
        file.open("ab").close()
        if not there:
            file.unlink()
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        hint = "pip install 'flask-pool[plot]'"
        raise click.ClickException(f"--plot needs matplotlib: {hint}") from error


def draw(file: Path, results: list[dict[str, Any]], title: str) -> None:
    """Draw a bar for each variant, with the range of its rounds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    axes = figure.subplots()
    for line, result in enumerate(reversed(results)):
        rate, low, high = (result[key] for key in ("requests_per_second", "lowest", "highest"))
        axes.barh(line, rate, color="#9db8d2", height=0.6)
        axes.plot([low, high], [line, line], color="#1f4e79", marker="|")
        label = f"  {rate:,.0f}  (x {result['ratio']:.1f})"
        axes.text(max(rate, high), line, label, verticalalignment="center")
    axes.set_yticks(range(len(results)), [result["variant"] for result in reversed(results)])
    axes.set_xlim(0, 1.25 * max(result["highest"] for result in results))
    axes.set_xlabel("requests a second: median, and the range of the rounds")
    axes.set_title(title, loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    with _writing(file):
        figure.savefig(file)


@contextmanager
def _writing(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise click.UsageError(f"--plot: {file}: {error.strerror}") from error
