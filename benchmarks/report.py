"""What was found as Markdown: for the terminal and for docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from .measure import CREATE, NOW, READ, USERS, WRITE
from .service import TITLES

Results = dict[str, Any]
FIGURES = (  # key, column, format
    ("requests_per_second", "req/s", ",.0f"), ("median_ms", "50 % ms", ".2f"),
    ("percentile_99_ms", "99 % ms", ".2f"), ("percentile_99_9_ms", "99.9 % ms", ".2f"),
    ("cpu_ms", "CPU ms", ".2f"), ("switches", "switches", ".1f"),
    ("opened_per_second", "opened/s", ".1f"),
)  # fmt: skip
Target = tuple[str, float, float, bool]  # what, measured, wanted, is that the most?
# times those of the other, by place
RATES = {
    (READ, "pre_ping"): {"beside it": 1.2, "2 workers": 1.25, "1 ms": 1.4, "5 ms": 3.0},
    (READ, "unpooled"): {"beside it": 4.0},
    (NOW, "defaults"): {"beside it": 0.95},
    (WRITE, "defaults"): {"beside it": 0.95},
    (USERS, "by_hand"): {"beside it": 0.6, "1 ms": 0.75, "5 ms": 1.8},
}
CPU = {
    (READ, "defaults"): 0.97,
    (READ, "pre_ping"): 0.88,
    (NOW, "defaults"): 1.06,
    (WRITE, "defaults"): 1.06,
}
ITSELF = {
    "bake_seconds": ("seconds of a bake beyond importing cookiecutter", 0.5),
    "service_lines": ("lines of the service", 330),
    "all_lines": ("lines of Python in a bake", 1500),
    "test_seconds": ("seconds of its tests", 5),
}
KINDS = {"pool": "with the pool", "defaults": "Flask-SQLAlchemy", "pre_ping": "with pre-ping"}
ELSEWHERE = {
    "every backend killed once a second: 0 GETs fail, 0 POSTs lost or doubled": (
        "tests/faults/test_kills.py"
    ),
    "20 threads on 2 connections: 1.5 x, 0 timeouts": "tests/faults/test_fairness.py",
    "views that differ from plain Flask-SQLAlchemy: 0": "tests/comparison, tests/situations",
}
OUTCOME = """\
Every engine serves the same views, one text (`benchmarks/apps/views.py`): `GET /same` is
`db.session.scalars(select(User).order_by(User.id).limit(100))` on a table of ten rows, `GET /now`
a transaction that reads, `POST /same` one that writes. gunicorn has {threads} threads a worker on
every side, the baked service with Flask-Pool's worker class and the others with gthread, nothing
pinned to a core. PostgreSQL, the load of {clients} clients (wrk) and the proxy that makes a network
longer are on the same {cores} cores. Figures are medians of the slices, ratios medians of those of
one turn; CPU time and context switches are those of the workers, for one request."""
COMMANDS = """\
```
make bench                                      # all of it, at most 20 minutes
.venv/bin/tox run -e bench -- --quick           # 3 minutes
.venv/bin/tox run -e bench -- --only near       # one section; --help lists them
```

The run bakes the template, starts a private PostgreSQL and MariaDB, and removes all of it. What it
compares is in `benchmarks/apps`, every figure in `benchmarks/results/latest.json`."""


def block(results: Results) -> str:
    """Return all tables, what they compare and how to repeat them."""
    facts = results["facts"]
    parts = [OUTCOME.format(**facts), "![Requests per second, side by side](benchmark.svg)"]
    for cell in results["cells"]:
        parts += [f"{title(cell)}:", _full(cell)]
    for database, found in results.get("counts", {}).items():
        parts += [f"Round trips per request (+ connections opened), {database}:", _counts(found)]
    if "cpu" in results:
        parts += ["CPU time of one WSGI call in one process, the least and the median of slices:"]
        parts += [_cpu(results["cpu"])]
    if "listeners" in results:
        parts += [
            "Of that, in microseconds of wall time, each without what it calls of the others:"
        ]
        parts += [_listeners(results["listeners"])]
    if "idle" in results:
        parts += ["An application that has an engine and has answered nothing:"]
        rows = [
            [KINDS[kind], f"{one['seconds']} s", f"{one['mebibytes']} MiB"]
            for kind, one in results["idle"].items()
        ]
        parts += [table(["", "ready after", "memory"], rows)]
    if "overload" in results:
        parts += ["More than can be served: [the queue under overload](overload.md)."]
    parts += ["To reach:", _targets(results)]
    shown = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    measured = f"Measured {facts['date']} on {facts['processor']}, {facts['cores']} cores: {shown}."
    left_out = [f"Left out: {'; '.join(results['left_out'])}."] if results["left_out"] else []
    return "\n\n".join([*parts, measured, *left_out, COMMANDS, ""])


def title(cell: dict[str, Any]) -> str:
    """Say what was compared."""
    place = f"{cell['delay_ms']} ms each way" if cell["delay_ms"] else "beside it"
    workers = f"{cell['workers']} worker{'s' * (cell['workers'] > 1)}"
    return f"`{cell['route']}`, {workers}, {cell['database']} {place}"


def _full(cell: dict[str, Any]) -> str:
    first, *others = (column for _, column, _ in FIGURES)
    rows = [
        [
            TITLES[one["candidate"]],
            f"{one['requests_per_second']:{FIGURES[0][2]}}",
            f"{one['ratios']['requests_per_second']:.2f} x",
            *(f"{one[key]:{form}}" for key, _, form in FIGURES[1:]),
            f"{one['failed']:.0f}",
        ]
        for one in cell["results"]
    ]
    return table(["", first, "the first is", *others, "failed"], rows)


def _counts(found: list[dict[str, Any]]) -> str:
    rows = [
        [TITLES[one["candidate"]]]
        + [f"{trips:g}{f' (+ {new:g})' * bool(new)}" for trips, new in one["routes"].values()]
        for one in found
    ]
    return table(["", *found[0]["routes"]], rows)


def _cpu(found: dict[str, dict[str, dict[str, float]]]) -> str:
    rows = []
    for route, kinds in found.items():
        row = [route]
        for kind in KINDS:
            least, median = kinds[kind]["least"], kinds[kind]["median"]
            row.append(f"{least:,.0f}, {median:,.0f} µs")
        row += [f"{kinds['pool']['least'] / kinds[kind]['least']:.3f}" for kind in list(KINDS)[1:]]
        rows.append(row)
    return table(["", *KINDS.values(), "of the first", "of pre-ping"], rows)


def _listeners(found: dict[str, dict[str, float]]) -> str:
    parts = dict.fromkeys(part for own in found.values() for part in own)
    rows = []
    for part in parts:
        row = [part if part in ("request", "metrics") or ":" in part else f"`{part}`"]
        for own in found.values():
            spent = own.get(part, 0.0)
            row.append(f"{spent:,.1f} ({100 * spent / own['request']:.1f} %)" if spent else "")
        rows.append(row)
    return table(["", *found], rows)


def _targets(results: Results) -> str:
    rows = []
    for what, measured, wanted, at_most in targets(results):
        reached = measured <= wanted if at_most else measured >= wanted
        limit = f"at {'most' if at_most else 'least'} {wanted:g}"
        rows.append([what, limit, f"{measured:.4g}", "yes" if reached else "**no**"])
    rows += [[what, "", f"`{where}`", ""] for what, where in ELSEWHERE.items()]
    return table(["", "wanted", "measured", "reached"], rows)


def targets(results: Results) -> Iterator[Target]:
    """Yield each target of what was measured."""
    for database, routes in {"PostgreSQL": {USERS: 1, CREATE: 3}, "MariaDB": {USERS: 2}}.items():
        for found in results.get("counts", {}).get(database, [])[:1]:  # the untouched service
            for route, most in routes.items():
                yield f"round trips of {route}, {database}", found["routes"][route][0], most, True
    yield from _rates(results)
    for (route, other), limit in CPU.items():
        if kinds := results.get("cpu", {}).get(route):
            ratio = kinds["pool"]["least"] / kinds[other]["least"]
            yield f"CPU time of {route} in one process, {TITLES[other]}", ratio, limit, True
    yield from _past_capacity(results)
    for key, (what, limit) in ITSELF.items():
        if key in results.get("project", {}):
            yield what, results["project"][key], limit, True


def _rates(results: Results) -> Iterator[Target]:
    places = {"beside it": (0, 1), "2 workers": (0, 2), "1 ms": (1, 1), "5 ms": (5, 1)}
    for (route, other), wanted in RATES.items():
        for place, least in wanted.items():
            for _, one in pairs(results, route, other, *places[place]):
                ratio = one["ratios"]["requests_per_second"]
                yield f"requests/s of {route}, {TITLES[other]}, {place}", ratio, least, False
    for other, most in {"defaults": 1.1, "by_hand": 1.7}.items():
        for key, column, _ in FIGURES[2:4]:
            for own, one in pairs(results, READ, other, 0, 1):
                what = f"{column.removesuffix(' ms')} of {READ}, {TITLES[other]}"
                yield what, own[key] / one[key], most, True


def _past_capacity(results: Results) -> Iterator[Target]:
    cells = {
        cell["load"]: cell
        for cell in results.get("overload", {}).get("/database", [])
        if cell["side"] == "flask_pool"
    }
    for load, least in {"3 x": 0.9, "6 x": 0.85, "20 x": 0.7}.items():
        if load in cells:
            yield f"answered in time at {load}", cells[load]["share"], least, False
            within = (cells[load]["percentile_99_ms"] or 0) / 1000
            yield f"seconds of 99 % of those at {load}", within, 1.2, True
            probe = cells[load]["slowest_probe"]
            yield f"seconds of the slowest health check at {load}", probe, 1.2, True


def pairs(
    results: Results, route: str, other: str, delay: int, workers: int
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield the first one's figures on PostgreSQL and another's, if they were compared there."""
    for cell in results["cells"]:
        place = (cell["database"], cell["route"], cell["delay_ms"], cell["workers"])
        if place == ("PostgreSQL", route, delay, workers):
            for one in cell["results"]:
                if one["candidate"] == other:
                    yield cell["results"][0], one


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
