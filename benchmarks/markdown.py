"""The block for the README: the main figures, and how to repeat them."""

from __future__ import annotations

from typing import Any

from .tables import Results, Table, cells, counts, full


def block(results: Results) -> str:
    """Give the Markdown."""
    parts = ["![Requests per second, side by side](docs/benchmark.svg)", ""]
    for cell in cells(results, "users"):
        parts += [*_about(results, cell), *_markdown(_shorter(full(cell))), ""]
    if results.get("counts"):
        counted = counts(results["counts"], "PostgreSQL")
        parts += [f"{counted.title[0].upper()}{counted.title[1:]}:", "", *_markdown(counted), ""]
    return "\n".join([*parts, *_how(results), ""])


def _about(results: Results, cell: dict[str, Any]) -> list[str]:
    machine = results["facts"]["machine"]
    text = (
        f"`{cell['route']}` (10 rows) by {cell['clients']} clients, one gunicorn worker with 8 "
        f"threads, PostgreSQL beside it on the same {machine['cores']} cores. Medians of "
        f"{cell['results'][0]['rounds']} rounds in turns; ratios are those of one turn."
    )
    return [text, ""]


def _shorter(table: Table) -> Table:
    kept = [index for index, name in enumerate(table.columns) if name not in ("range", "failed")]
    return Table(
        table.title,
        tuple(table.columns[index] for index in kept),
        [tuple(row[index] for index in kept) for row in table.rows],
    )


def _markdown(table: Table) -> list[str]:
    lines = [table.columns, ("---", *("---:" for _ in table.columns[1:])), *table.rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def _how(results: Results) -> list[str]:
    facts = results["facts"]
    machine, versions = facts["machine"], facts["versions"]
    named = ("python", "postgresql", "mariadb", "sqlalchemy", "flask", "gunicorn", "psycopg")
    shown = ", ".join(f"{name} {versions[name]}" for name in named if name in versions)
    left_out = [f"Left out: {'; '.join(facts['left_out'])}."] if facts["left_out"] else []
    measured = (
        f"Measured {facts['date']} on {machine['processor']}, {machine['cores']} cores, "
        f"{machine['system']}: {shown}; load from {facts['load_from']}."
    )
    what = (
        "The run bakes the template, starts a private PostgreSQL and MariaDB, and removes all of "
        "it. What it compares is in [benchmarks/apps](benchmarks/apps), every figure in "
        "[benchmarks/results/latest.json](benchmarks/results/latest.json). Rates depend on the "
        "machine, ratios less so, round trips not at all."
    )
    return [
        measured,
        *left_out,
        "",
        "```",
        "make bench                                      # all of it, at most 15 minutes",
        ".venv/bin/tox run -e bench -- --quick           # 2 minutes",
        ".venv/bin/tox run -e bench -- --only users      # one section; --help lists them",
        "```",
        "",
        what,
    ]
