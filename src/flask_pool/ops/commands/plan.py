"""`flask pool plan`: the size of pool and service that a load needs."""

from __future__ import annotations

from dataclasses import asdict, replace
from time import monotonic, sleep

import click
from flask import current_app
from flask.cli import with_appcontext
from sqlalchemy.exc import SQLAlchemyError

from ..server import ask_server
from . import first_line, output
from .pgbouncer import configuration
from .sizing import BUSY, MOST_LOAD, Demand, Plan
from .sizing import plan as make_plan
from .status import ask

MODEL = "M/M/c queue, Erlang C (Gross and others, Fundamentals of Queueing Theory, 2.3)"
GROWTH = (1, 10, 100, 1000)
ABOVE_0 = output.Number(0, 1e9, min_open=True)
FROM_0 = output.Number(0, 1e6)
PERCENT = output.Number(1, 99.999)
SOME = click.IntRange(1, 1_000_000)
COLUMNS = (
    "Requests/s", "Instances", "Workers each", "Threads each", "Pool size", "Overflow",
    "Connections", "Server's limit", "Pooler",
)  # fmt: skip


@click.command("plan")
@output.option("--rate", type=ABOVE_0, help="Requests a second, of all instances.")
@output.option("--hold", type=ABOVE_0, help="Milliseconds that a request keeps its connection.")
@output.option("--python", type=FROM_0, default=1.0, help="Milliseconds of a request without one.")
@output.option("--wait", type=FROM_0, default=10.0, help="Milliseconds that it may wait for one.")
@output.option("--percentile", type=PERCENT, default=99.0, help="How many wait at most so long.")
@output.option("--from", "source", metavar="URL", help="Measure rate and hold of this service.")
@output.option("--interval", type=ABOVE_0, default=5.0, help="Seconds to measure for.")
@output.option("--workers", type=SOME, help="Of an instance.  [default: WEB_CONCURRENCY]")
@output.option("--instances", type=SOME, help="Fix their number.")
@output.option("--limit", type=SOME, help="The server's, instead of asking it.")
@click.option("--pgbouncer", is_flag=True, help="Print a pgbouncer.ini; needs no load.")
@output.format_option("table", "json")
@with_appcontext
def command(
    rate: float | None, hold: float | None, python: float, wait: float, percentile: float,
    source: str | None, interval: float, workers: int | None, instances: int | None,
    limit: int | None, pgbouncer: bool, form: str,
) -> None:  # fmt: skip
    """Find the smallest pool, threads, workers and instances that keep a wait.

    Each worker is an M/M/c queue: requests come at random, hold one of c connections for a time
    that varies a lot (exponentially), and wait in order; Erlang's C formula gives the wait. Waits
    are shorter when holds vary less, and longer when requests come in bursts. Source: Gross and
    others, Fundamentals of Queueing Theory, 4th edition, section 2.3.

    The table goes on with the same service under 10, 100 and 1000 times the load.

    Example: flask pool plan --rate 500 --hold 8 --wait 5
    """
    if source:
        seen_rate, seen_hold = measure(source, interval)
        rate, hold = rate or seen_rate, hold or seen_hold
    workers = workers or current_app.extensions["flask_pool"].settings["WEB_CONCURRENCY"]
    if pgbouncer and not (rate or hold):
        click.echo(configuration(instances or 10, workers, min(20, limit or 20)))
        return
    if not rate or not hold:
        raise click.UsageError("--rate and --hold are needed, or --from URL")
    demand = Demand(rate, hold / 1000, python / 1000, wait / 1000, percentile / 100)
    if demand.busy > MOST_LOAD:
        raise click.UsageError(f"more than {MOST_LOAD:g} requests at any time: too many to plan")
    limit = limit or _ask_limit()
    plans = [
        make_plan(larger, workers, instances if factor == 1 else None, limit)
        for factor in GROWTH
        if (larger := replace(demand, rate=rate * factor)).busy <= MOST_LOAD
    ]
    if pgbouncer:
        it = plans[0]
        click.echo(configuration(it.instances, it.workers, it.pooled_connections, it.threads))
    elif form == "json":
        output.dump(
            {"model": MODEL, "demand": asdict(demand), "plan": asdict(plans[0])}
            | {"growth": [asdict(plan) for plan in plans[1:]]}
        )
    else:
        _as_text(demand, plans)


def _as_text(demand: Demand, plans: list[Plan]) -> None:
    first = plans[0]
    click.echo(
        f"{demand.rate:g} requests/s, each with a connection for {1000 * demand.hold:g} ms; "
        f"{100 * demand.share:g} % are to wait at most {1000 * demand.wait:g} ms\n"
        f"{MODEL}; a worker's Python busy for at most {100 * BUSY:g} %\n"
    )
    output.show(output.table(COLUMNS, map(_row, plans)))
    click.echo(
        f"\nSQLALCHEMY_POOL_SIZE={first.pool_size}\nSQLALCHEMY_MAX_OVERFLOW={first.max_overflow}\n"
        f"WEB_CONCURRENCY={first.workers}\nWEB_THREADS={first.threads}\n\n"
        f"Then {100 * demand.share:g} % wait at most {first.wait_ms:.3g} ms for a connection, "
        f"{first.mean_wait_ms:.3g} ms on average."
    )


def _row(plan: Plan) -> tuple[object, ...]:
    return (
        f"{plan.rate:.10g}", plan.instances, plan.workers, plan.threads, plan.pool_size,
        plan.max_overflow, plan.connections, plan.limit or "-", pooler(plan),
    )  # fmt: skip


def pooler(plan: Plan) -> str:
    """Say whether the server serves all of this directly."""
    family = current_app.extensions["flask_pool"].engines["default"].url.get_backend_name()
    if family == "sqlite":
        several = "use PostgreSQL or MariaDB: SQLite serves one instance"
        return several if plan.instances > 1 else "no"
    if plan.fits:
        return "no" if plan.limit else "unknown"
    if not plan.pooler_fits:
        return f"not enough: {plan.pooled_connections} queries run at once"
    name = "PgBouncer" if family == "postgresql" else "ProxySQL or MaxScale"
    return f"{name} with {plan.pooled_connections} server connections"


def _ask_limit() -> int | None:
    try:
        with current_app.extensions["flask_pool"].engines["default"].connect() as connection:
            return ask_server(connection).available
    except SQLAlchemyError as error:
        click.echo(f"The server's limit is unknown: {first_line(error)}", err=True)
        return None


def measure(url: str, seconds: float) -> tuple[float, float]:
    """Return how often, and for how many ms, the service uses a connection."""
    (count, total), started = used(url), monotonic()
    sleep(seconds)
    (now, later), took = used(url), monotonic() - started
    if now <= count:
        raise click.ClickException(f"{url} used no connection within {seconds:g} s: ask under load")
    return (now - count) / took, 1000 * (later - total) / (now - count)


def used(url: str) -> tuple[int, float]:
    """Return how many connections were used, and the seconds of all."""
    try:
        (times,) = (pool["use_time"] for pool in ask(url)["pools"] if pool["name"] == "default")
        return times["counts"][-1], times["sum"]
    except (LookupError, TypeError, ValueError) as error:
        raise click.ClickException(f"{url}/pool.json is no data of a pool") from error
