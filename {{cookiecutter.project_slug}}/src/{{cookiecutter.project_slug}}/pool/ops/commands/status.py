"""`flask pool status`: what the pool of a running service does now."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from time import sleep
from typing import TYPE_CHECKING, Any

import click
from flask.cli import with_appcontext

from . import Command, report
from .client import ask, own_url

if TYPE_CHECKING:
    from rich.console import Group

SECONDS = report.Number(0.1, 3600)


@click.command("status", cls=Command)
@report.option("--url", help="Where the service listens.  [default: from HOST and PORT]")
@report.option("--watch", is_flag=True, help="Ask again and again, until interrupted.")
@report.option("--interval", type=SECONDS, default=1.0, help="Seconds between two questions.")
@report.format_option("table", "json")
@with_appcontext
def command(url: str | None, watch: bool, interval: float, form: str) -> None:
    """Show what the pools of the running service do at this moment.

    The service is asked for /pool.json, with OPS_TOKEN. Every count is momentary.

    Example: flask pool status --watch --url https://service.example.com
    """
    source = url or own_url()
    with ExitStack() as stack:
        console = report.console()
        if form == "json":
            show = lambda found: click.echo(json.dumps(found))  # noqa: E731
        elif watch and console.is_terminal:
            from rich.live import Live

            live = stack.enter_context(Live(console=console, auto_refresh=False))
            show = lambda found: live.update(view(found), refresh=True)  # noqa: E731
        else:
            show = lambda found: report.show(view(found))  # noqa: E731
        with suppress(KeyboardInterrupt):
            show(fetch(source))
            while watch:
                sleep(interval)
                show(fetch(source))


def fetch(url: str) -> dict[str, Any]:
    """Return the service's /pool.json."""
    try:
        found = json.loads(ask(url, "/pool.json"))
    except ValueError as error:
        raise click.ClickException(f"{url}/pool.json is no JSON") from error
    if not isinstance(found, dict):
        raise click.ClickException(f"{url}/pool.json is no data of a pool")
    return found


def view(found: dict[str, Any]) -> Group:
    """Return tables of whatever the service tells."""
    from rich.console import Group

    pools = found.get("pools") or []
    facts = [dict(flat(pool)) for pool in pools]
    names = list(dict.fromkeys(name for pool in facts for name in pool))
    rows = [[name, *(pool.get(name, "-") for pool in facts)] for name in names if name != "name"]
    rows += [[name, value] for name, value in flat({**found, "pools": None, "time": None})]
    tables = [report.table(["", *(str(pool.get("name", "pool")) for pool in pools)], rows)]
    for pool in pools:
        if workers := pool.get("workers"):
            columns = list(dict.fromkeys(["pid", *(name for one in workers for name in one)]))
            cells = [[worker.get(name, "-") for name in columns] for worker in workers]
            tables.append(report.table([f"{pool.get('name')}: {columns[0]}", *columns[1:]], cells))
    return Group(*tables)


def flat(found: dict[str, Any], before: str = "") -> Iterator[tuple[str, object]]:
    """Yield names and values; of a histogram the mean, of other lists nothing."""
    for key, value in found.items():
        name = f"{before}{key}".replace("_", " ")
        if isinstance(value, dict) and {"sum", "counts"} <= value.keys():
            yield f"{name} (mean)", mean(value["sum"], value["counts"])
        elif isinstance(value, dict):
            yield from flat(value, f"{name} ")
        elif isinstance(value, float):
            yield name, f"{value:g}"
        elif value is not None and not isinstance(value, list):
            yield name, value


def mean(total: float, counts: list[int]) -> str:
    """Return the mean of a histogram of seconds, whose last count is all."""
    return f"{1000 * total / counts[-1]:.3g} ms" if counts and counts[-1] else "-"
