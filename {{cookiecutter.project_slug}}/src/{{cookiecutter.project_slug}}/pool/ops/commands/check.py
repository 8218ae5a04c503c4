"""`flask pool check`: whether the settings are right for the server as it is now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import click
from flask import current_app
from flask.cli import with_appcontext
from sqlalchemy.engine import Engine

from ...options import is_memory
from ..budget import budget
from ..hosts import on_same_server, place
from . import Command, report
from .findings import CHECKS, ERROR, SEVERITIES, Finding, Subject
from .session import ask_console, look

COLUMNS = ("Pool", "Severity", "Finding", "Advice")
MANY = click.IntRange(1, 1_000_000)

Found = list[tuple[str, Finding]]


@click.command("check", cls=Command)
@report.option("--instances", type=MANY, default=1, help="How many machines or containers run it.")
@report.format_option("table", "json")
@click.pass_context
@with_appcontext
def command(context: click.Context, instances: int, form: str) -> None:
    """Compare the settings with the live server; exit 1 if one is wrong.

    An error will fail under load or in production, a warning costs time or safety.

    Example: flask pool check --instances 3 --format json
    """
    engines: dict[str, Engine] = current_app.extensions["pool"].engines
    subjects = {name: examine(name, engines, instances) for name in engines}
    found = [
        (name, finding)
        for name, subject in subjects.items()
        for check in CHECKS
        for finding in check(subject)
    ]
    found.sort(key=lambda pair: SEVERITIES.index(pair[1].severity))
    failed = any(finding.severity == ERROR for _, finding in found)
    if form == "json":
        report.dump(as_data(subjects, found, ok=not failed))
    else:
        as_text(subjects, found)
    context.exit(failed)


def examine(name: str, engines: Mapping[str, Engine], instances: int) -> Subject:
    """Look at one database."""
    settings, engine = current_app.config, engines[name]
    session = look(name, current_app.extensions["pool"])
    one = {"SQLALCHEMY_POOL_SIZE": 1, "SQLALCHEMY_MAX_OVERFLOW": 0} if is_memory(engine.url) else {}
    pools = on_same_server(engine, engines.values())
    plan = budget({**settings, **one}, session.limits, instances, pools)
    timeout = settings["SQLALCHEMY_CONNECT_TIMEOUT"]
    pooler = ask_console(engine, timeout) if session.pooler else None
    return Subject(engine.url, settings, plan, session, pooler)


def as_data(subjects: dict[str, Subject], found: Found, ok: bool) -> dict[str, object]:
    """Return what a pipeline reads."""
    return {
        "ok": ok,
        "findings": [{"pool": name} | asdict(finding) for name, finding in found],
        "pools": [
            {
                "pool": name,
                "database": place(subject.url),
                "server": subject.session.limits.server,
                "needed": subject.budget.needed,
                "limit": subject.budget.limit,
                "fits": subject.budget.fits,
                "text": str(subject.budget),
            }
            for name, subject in subjects.items()
        ],
    }


def as_text(subjects: dict[str, Subject], found: Found) -> None:
    """Print what a person reads."""
    for name, subject in subjects.items():
        click.echo(f"{name}: {subject.budget}; {subject.session.limits.server}")
    if not found:
        click.echo("No findings.")
        return
    click.echo()
    rows = [(name, finding.severity, finding.message, finding.advice) for name, finding in found]
    report.show(report.table(COLUMNS, rows))
