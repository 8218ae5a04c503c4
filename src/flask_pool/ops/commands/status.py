"""`flask pool status`: what the pool of a running service does now."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPException
from time import sleep
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import click
from flask import current_app
from flask.cli import with_appcontext

from . import output

if TYPE_CHECKING:
    from rich.console import Group

PATIENCE = 10  # seconds that the service has to answer
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}  # noqa: S104
SECONDS = output.Number(0.1, 3600)


@click.command("status")
@output.option("--url", help="Where the service listens.  [default: from HOST and PORT]")
@output.option("--watch", is_flag=True, help="Ask again and again, until interrupted.")
@output.option("--interval", type=SECONDS, default=1.0, help="Seconds between two questions.")
@output.format_option("table", "json")
@with_appcontext
def command(url: str | None, watch: bool, interval: float, form: str) -> None:
    """Show what the pools of the running service do at this moment.

    The service is asked for /pool.json, with OPS_TOKEN. Every count is momentary.

    Example: flask pool status --watch --url https://service.example.com
    """
    with suppress(KeyboardInterrupt):
        while True:
            found = ask(url or own_url())
            if watch and form == "table":
                click.clear()  # in a terminal
            click.echo(json.dumps(found)) if form == "json" else output.show(view(found))
            if not watch:
                break
            sleep(interval)


def view(found: dict[str, Any]) -> Group:
    """Return tables of whatever the service tells."""
    from rich.console import Group

    pools = found.get("pools") or []
    facts = [dict(_flat(pool)) for pool in pools]
    names = list(dict.fromkeys(name for pool in facts for name in pool))
    rows = [[name, *(pool.get(name, "-") for pool in facts)] for name in names if name != "name"]
    rows += [[name, value] for name, value in _flat({**found, "pools": None, "time": None})]
    tables = [output.table(["", *(str(pool.get("name", "pool")) for pool in pools)], rows)]
    for pool in pools:
        if workers := pool.get("workers"):
            columns = list(dict.fromkeys(["pid", *(name for one in workers for name in one)]))
            cells = [[worker.get(name, "-") for name in columns] for worker in workers]
            tables.append(output.table([f"{pool.get('name')}: {columns[0]}", *columns[1:]], cells))
    return Group(*tables)


def _flat(found: dict[str, Any], before: str = "") -> Iterator[tuple[str, object]]:
    """Yield names and values; of a histogram the mean, of other lists nothing."""
    for key, value in found.items():
        name = f"{before}{key}".replace("_", " ")
        if isinstance(value, dict) and {"sum", "counts"} <= value.keys():
            count = value["counts"][-1]
            yield f"{name} (mean)", f"{1000 * value['sum'] / count:.3g} ms" if count else "-"
        elif isinstance(value, dict):
            yield from _flat(value, f"{name} ")
        elif isinstance(value, float):
            yield name, f"{value:g}"
        elif value is not None and not isinstance(value, list):
            yield name, value


# asking the service


def own_url() -> str:
    """Return where this service listens, as far as its settings tell."""
    settings = current_app.extensions["flask_pool"].settings
    host, port = settings["HOST"], settings["PORT"]
    host = EVERYWHERE.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def ask(url: str) -> dict[str, Any]:
    """Return the service's /pool.json; ClickException in one line if there is none."""
    settings = current_app.extensions["flask_pool"].settings
    page = f"{url.rstrip('/')}{settings['POOL_URL_PREFIX']}/pool.json"
    if "@" in page:
        raise click.ClickException("--url: without user and password; OPS_TOKEN is sent")
    if not page.startswith(("http://", "https://")):
        raise click.ClickException(f"{url}: not the URL of a service; http://... is")
    token = (settings["OPS_TOKEN"] or "").encode().decode("latin-1")
    # a proxy of the environment does not know this service
    opener = build_opener(ProxyHandler({}))
    try:
        request = Request(page)  # noqa: S310
        # not for whom the service redirects to
        request.add_unredirected_header("Authorization", f"Bearer {token}")
        with opener.open(request, timeout=PATIENCE) as response:
            text = response.read()
    except HTTPError as error:
        error.close()
        hint = ": is OPS_TOKEN the service's own?" if error.code == 404 else ""
        raise click.ClickException(f"{page} answered {error.code}{hint}") from error
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise click.ClickException(f"{page} does not answer: {reason}") from error
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise click.ClickException(f"{page} is no data of a pool")
    return found
