"""The results as tables, for the terminal and for Markdown alike."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .candidates import TITLES

Results = dict[str, Any]
Cell = dict[str, Any]

COLUMNS = (
    "", "req/s", "range", "baked is", "50 % ms", "99 % ms", "CPU ms", "baked's CPU", "switches",
    "opened/s", "MiB", "failed",
)  # fmt: skip
ITSELF = {
    "bake_seconds": "bake, seconds",
    "own_tests_seconds": "the service's own tests on SQLite, seconds",
    "all_tests_seconds": "with the pool's tests, seconds",
    "service_lines": "lines of the service",
    "core_lines": "lines of the pool's core",
    "ops_lines": "lines of the pool's ops",
}


@dataclass
class Table:
    """A title, a header and rows; the first column is text."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)

    def without(self, *names: str) -> Table:
        """Leave columns out."""
        kept = [index for index, name in enumerate(self.columns) if name not in names]
        rows = [tuple(row[index] for index in kept) for row in self.rows]
        return Table(self.title, tuple(self.columns[index] for index in kept), rows)


def tables(results: Results) -> list[Table]:
    """Give every table that the results fill."""
    found = [
        full(cell)
        for section in ("view", "sample", "latency", "mariadb")
        for cell in cells(results, section=section)
    ]
    found += threads(results)
    found += [
        counts(results.get("counts", []), "PostgreSQL"),
        counts(results.get("mariadb_counts", []), "MariaDB"),
        itself(results.get("project", {})),
    ]
    return [table for table in found if table.rows]


def cells(results: Results, **wanted: object) -> list[Cell]:
    """Give the comparisons of which all this is true."""
    return [
        cell
        for cell in results["cells"]
        if all(cell.get(name) == value for name, value in wanted.items())
    ]


def full(cell: Cell) -> Table:
    """Show all that is known of one comparison."""
    counted = "round_trips" in cell["results"][0]
    table = Table(title(cell), COLUMNS + (("trips",) if counted else ()))
    for result in cell["results"]:
        row: tuple[str, ...] = (
            TITLES[result["candidate"]],
            f"{result['requests_per_second']:,.0f}",
            f"{result['lowest']:,.0f} - {result['highest']:,.0f}",
            f"{result['ratios']['requests_per_second']:.2f} x",
            f"{result['median_ms']:.2f}",
            f"{result['percentile_99_ms']:.2f}",
            f"{result['cpu_ms']:.2f}",
            f"{result['ratios']['cpu_ms']:.2f} x",
            f"{result['switches']:.1f}",
            f"{result['opened_per_second']:.1f}",
            f"{result['memory_mib']:.0f}",
            str(result["failed"]),
        )
        table.rows.append((*row, f"{result['round_trips']:.2f}") if counted else row)
    return table


def title(cell: Cell) -> str:
    """Say what was compared."""
    parts = [
        f"{cell['route']} on {cell['database']}",
        _number(cell["clients"], "client"),
        _number(cell["workers"], "worker"),
        f"{cell['threads']} threads each",
    ]
    if cell["delay_ms"]:
        parts.append(f"{cell['delay_ms']} ms each way")
    return ", ".join(parts)


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def places(results: Results, route: str) -> Table:
    """Show rates wherever a route was measured, with how much more the first service has."""
    table = Table(f"requests/s of {route}", ())
    found = [
        cell
        for section in ("view", "sample", "latency")
        for cell in cells(results, section=section, route=route)
    ]
    # the variants of the baked service are a matter of CPU time
    keys = list(
        dict.fromkeys(
            result["candidate"]
            for cell in found
            for result in cell["results"]
            if result["candidate"] not in ("plain_pool", "unmeasured")
        )
    )
    table.columns = ("", *(TITLES[key] for key in keys))
    for cell in found:
        rates = {result["candidate"]: _rate(result) for result in cell["results"]}
        table.rows.append((place(cell), *(rates.get(key, "") for key in keys)))
    return table


def place(cell: Cell) -> str:
    """Say where it was measured, in a few words."""
    parts = [
        _number(cell["clients"], "client"),
        _number(cell["workers"], "worker"),
        f"{cell['delay_ms']} ms each way" if cell["delay_ms"] else "database beside it",
    ]
    return ", ".join(parts)


def _rate(result: dict[str, Any]) -> str:
    ratio = result["ratios"]["requests_per_second"]
    return f"{result['requests_per_second']:,.0f}" + ("" if ratio == 1 else f" ({ratio:.2f} x)")


def threads(results: Results) -> list[Table]:
    """Show what each number of threads brings, a table for each latency."""
    found: dict[int, Table] = {}
    figures = {"requests_per_second": "req/s", "percentile_99_ms": "99 % ms"}
    for cell in cells(results, section="threads"):
        keys = [str(result["candidate"]) for result in cell["results"]]
        columns = [f"{key.replace('_', '-')} {what}" for what in figures.values() for key in keys]
        text = f"{cell['route']} by threads, {place(cell)}"
        table = Table(text, ("threads", *columns, "baked is", "opened/s"))
        table = found.setdefault(cell["delay_ms"], table)
        values = [f"{result[name]:,.0f}" for name in figures for result in cell["results"]]
        own, other = cell["results"]
        ratio = f"{other['ratios']['requests_per_second']:.2f} x"
        opened = f"{own['opened_per_second']:.1f}, {other['opened_per_second']:.1f}"
        table.rows.append((str(cell["threads"]), *values, ratio, opened))
    return list(found.values())


def counts(found: list[dict[str, Any]], place: str) -> Table:
    """Show what one request costs in round trips, and in new connections where there are any."""
    routes = list(found[0]["routes"]) if found else []
    table = Table(f"round trips per request (+ connections opened), {place}", ("", *routes))
    for service in found:
        values = [_count(service["routes"][route]) for route in routes]
        table.rows.append((TITLES[service["candidate"]], *values))
    return table


def _count(counted: dict[str, float]) -> str:
    opened = f" (+ {counted['connections']:g})" if counted["connections"] else ""
    return f"{counted['round_trips']:g}{opened}"


def itself(found: dict[str, float]) -> Table:
    """Show what is known of the project without load."""
    table = Table("the project itself", ("", "measured"))
    for name, text in ITSELF.items():
        if name in found:
            table.rows.append((text, f"{found[name]:,}"))
    return table
