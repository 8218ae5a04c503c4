"""The block for docs/benchmarks.md: the main figures, what they compare, how to repeat them."""

from __future__ import annotations

from .tables import Results, Table, cells, counts, full, places
from .targets import NEAR, VIEW, ratios

LATER = ("range", "failed", "MiB")  # what the JSON has besides


def block(results: Results) -> str:
    """Give the Markdown."""
    parts = [_what(results), "", "![Requests per second, side by side](benchmark.svg)", ""]
    for cell in cells(results, section="view", workers=1):
        parts += [f"`{VIEW}` by {cell['clients']} clients, one worker, PostgreSQL beside it:", ""]
        parts += [*_markdown(full(cell).without(*LATER)), ""]
    said = {
        VIEW: "The same view elsewhere, in requests per second (and how many times that the baked "
        "service has):",
        "GET /users": "The baked service as it comes, against views written by hand on "
        "psycopg_pool, which commit as its documentation shows or work in autocommit:",
        "POST /users": "Writing, with the same statements on every side but psycopg_pool in "
        "autocommit, which needs no transaction:",
    }
    for route, text in said.items():
        table = places(results, route)
        if table.rows:
            parts += [text, "", *_markdown(table), ""]
    if results.get("counts"):
        counted = counts(results["counts"], "PostgreSQL")
        parts += [f"{counted.title[0].upper()}{counted.title[1:]}:", "", *_markdown(counted), ""]
    return "\n".join([*parts, *_how(results), ""])


def _what(results: Results) -> str:
    """Say what is compared, and what came out of it."""
    facts = results["facts"]
    gunicorn, machine = facts["gunicorn"], facts["machine"]
    rounds = sorted({result["rounds"] for cell in results["cells"] for result in cell["results"]})
    text = (
        "Every engine serves the same view, one text (`benchmarks/apps/views.py`) with the query "
        "`db.session.scalars(select(User).order_by(User.id).limit(100))`, on a table of ten rows. "
        f"gunicorn is the same on every side: {gunicorn['worker_class']}, {gunicorn['threads']} "
        "threads a worker, nothing pinned to a core. PostgreSQL, the load and the proxy that makes "
        f"a network longer are on the same {machine['cores']} cores. Rates are medians of "
        f"{' or '.join(map(str, rounds))} rounds in turns, ratios those of one turn; CPU time and "
        "context switches are those of the workers, for one request."
    )
    return " ".join([text, *_outcome(results)])


def _outcome(results: Results) -> list[str]:
    where = {
        "with the database beside it": NEAR,
        "with 2 workers": NEAR | {"workers": 2},
        "with 1 ms each way to the database": NEAR | {"delay_ms": 1},
        "with 5 ms": NEAR | {"delay_ms": 5},
    }
    found = [
        f"{each['requests_per_second']:.2f} {text}"
        for text, place in where.items()
        for each in ratios(results, VIEW, "pre_ping", place)
    ]
    said = []
    if found:
        said.append(
            "The baked service answers so many times the requests of Flask-SQLAlchemy with "
            f"pre-ping: {', '.join(found)}."
        )
    said += [
        f"It answers {each['requests_per_second']:.1f} times those of an unpooled one."
        for each in ratios(results, VIEW, "unpooled", NEAR)
    ]
    said += [
        f"The pool and its metrics take {100 * (each['cpu_ms'] - 1):.1f} % more CPU time than a "
        "plain QueuePool that is read in the same way; the prototype is such a way to read in "
        "thirty lines, without all else that the pool does."
        for each in ratios(results, VIEW, "plain_pool", NEAR)
    ]
    return said


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
        "it. What it compares is in `benchmarks/apps`, every figure in "
        "`benchmarks/results/latest.json`."
    )
    return [
        measured,
        *left_out,
        "",
        "```",
        "make bench                                      # all of it, at most 15 minutes",
        ".venv/bin/tox run -e bench -- --quick           # 2 minutes",
        ".venv/bin/tox run -e bench -- --only view       # one section; --help lists them",
        "```",
        "",
        what,
    ]
