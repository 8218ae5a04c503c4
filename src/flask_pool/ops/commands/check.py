"""`flask pool check`: whether the settings are right for the server as it is now."""

from __future__ import annotations

from dataclasses import asdict

import click
from flask import current_app
from flask.cli import with_appcontext
from sqlalchemy.exc import SQLAlchemyError

from ...extension import Pools
from ..budget import budget
from ..server import ask_server, place
from . import output, waits
from .findings import CHECKS, ERROR, SEVERITIES, Finding, Subject
from .pgbouncer import ask_console
from .promises import lost

COLUMNS = ("Pool", "Severity", "Finding", "Advice")
MANY = click.IntRange(1, 1_000_000)

Found = list[tuple[str, Finding]]


@click.command("check")
@output.option("--instances", type=MANY, default=1, help="How many machines or containers run it.")
@output.format_option("table", "json")
@click.pass_context
@with_appcontext
def command(context: click.Context, instances: int, form: str) -> None:
    """Compare the settings with the live server; exit 1 if one is wrong.

    An error will fail under load or in production, a warning costs time or safety.

    Example: flask pool check --instances 3 --format json
    """
    pools: Pools = current_app.extensions["flask_pool"]
    subjects, found = {}, []
    for name in pools.engines:
        try:
            subjects[name] = examine(name, pools, instances)
        except SQLAlchemyError:
            if not (pools.replicas and pools.replicas.named(name)):
                raise
            found.append((name, Finding(ERROR, "replica", "it can't be reached", "start it")))
    found += [
        (name, finding)
        for name, subject in subjects.items()
        for check in CHECKS
        for finding in check(subject)
    ]
    found += [("default", finding) for finding in waits.findings(pools.settings)]
    found.sort(key=lambda pair: SEVERITIES.index(pair[1].severity))
    failed = any(finding.severity == ERROR for _, finding in found)
    (_as_json if form == "json" else _as_text)(subjects, found, failed)
    context.exit(failed)


def examine(name: str, pools: Pools, instances: int) -> Subject:
    """Look at one database, on a connection of the application's own engine."""
    settings, engine = pools.settings, pools.engines[name]
    with engine.connect() as connection:
        server, not_kept = ask_server(connection), tuple(lost(engine, connection))
    timeout = settings["SQLALCHEMY_CONNECT_TIMEOUT"]
    replicas, late = 0, None
    if pools.replicas and name == "default":
        replicas = len(pools.replicas.servers)
    elif pools.replicas and (replica := pools.replicas.named(name)):
        late = pools.replicas.wait_for(replica)
    return Subject(
        url=engine.url,
        settings=settings,
        budget=budget(pools, name, server, instances),
        server=server,
        pooler=ask_console(engine, timeout) if server.pooler else None,
        lost=not_kept,
        replicas=replicas,
        late=late,
    )


def _as_json(subjects: dict[str, Subject], found: Found, failed: bool) -> None:
    pools = [
        {"pool": name, "database": place(subject.url), "server": subject.server.name}
        | {key: getattr(subject.budget, key) for key in ("needed", "limit", "fits")}
        | {"text": str(subject.budget)}
        for name, subject in subjects.items()
    ]
    findings = [{"pool": name} | asdict(finding) for name, finding in found]
    output.dump({"ok": not failed, "findings": findings, "pools": pools})


def _as_text(subjects: dict[str, Subject], found: Found, failed: bool) -> None:
    for name, subject in subjects.items():
        click.echo(f"{name}: {subject.budget}; {subject.server.name}")
    click.echo("" if found else "No findings.")
    if found:
        rows = [(name, each.severity, each.message, each.advice) for name, each in found]
        output.show(output.table(COLUMNS, rows))
