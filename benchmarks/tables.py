"""The results as tables, for the terminal and for Markdown alike."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .candidates import TITLES

Results = dict[str, Any]
Cell = dict[str, Any]

FULL = ("", "req/s", "range", "baked is", "50 % ms", "99 % ms", "CPU ms", "MiB", "failed")
NETWORK = ("trips", "opened")


@dataclass
class Table:
    """A title, a header and rows; the first column is text."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)


def tables(results: Results) -> list[Table]:
    """Give every table that the results fill."""
    found = [full(cell) for name in ("users", "routes") for cell in cells(results, name)]
    clients, rows, workers = (cells(results, name) for name in ("clients", "rows", "workers"))
    if clients:
        clients = by_clients(results)
    found += [
        pivot(clients, "clients", "requests/s, by clients", "requests_per_second"),
        pivot(clients, "clients", "99th percentile in ms, by clients", "percentile_99_ms"),
        pivot(rows, "rows", "requests/s, by rows", "requests_per_second"),
        pivot(workers, "workers", "requests/s, by workers", "requests_per_second"),
        counts(results.get("counts", []), "PostgreSQL"),
        counts(results.get("mariadb_counts", []), "MariaDB"),
    ]
    found += [full(cell) for cell in cells(results, "latency")]
    found += [full(cell) for name in ("mariadb", "pgbouncer") for cell in cells(results, name)]
    found += [startup(results.get("startup", {})), baking(results)]
    return [table for table in found if table.rows]


def cells(results: Results, section: str) -> list[Cell]:
    """Give the comparisons of a section."""
    return [cell for cell in results["cells"] if cell["section"] == section]


def full(cell: Cell) -> Table:
    """Show all that is known of one comparison."""
    fixed = ("section", "route", "clients", "results")
    varied = [
        f"{name.removesuffix('_ms')} {value}" for name, value in cell.items() if name not in fixed
    ]
    place = "MariaDB" if cell["section"] == "mariadb" else "PostgreSQL"
    title = ", ".join([cell["route"], f"{cell['clients']} clients", place, *varied])
    counted = "round_trips" in cell["results"][0]
    table = Table(title, FULL + (NETWORK if counted else ()))
    for result in cell["results"]:
        row: tuple[str, ...] = (
            TITLES[result["candidate"]],
            f"{result['requests_per_second']:,.0f}",
            f"{result['lowest']:,.0f} - {result['highest']:,.0f}",
            f"{result['ratio']:.2f} x",
            f"{result['median_ms']:.2f}",
            f"{result['percentile_99_ms']:.2f}",
            f"{result['cpu_ms']:.2f}",
            f"{result['memory_mib']:.0f}",
            str(result["failed"]),
        )
        if counted:
            row += (f"{result['round_trips']:.2f}", f"{result['connections']:.3f}")
        table.rows.append(row)
    return table


def by_clients(results: Results) -> list[Cell]:
    """Give the comparisons that differ in clients alone; the main one is one of them."""
    found = cells(results, "users") + cells(results, "clients")
    return sorted(found, key=lambda cell: int(cell["clients"]))


def pivot(found: list[Cell], by: str, title: str, value: str) -> Table:
    """Show one figure of those that are in every comparison, a column for each comparison."""
    table = Table(title, ("", *(f"{cell[by]:,}" for cell in found)))
    rows: dict[str, list[str]] = {}
    for cell in found:
        for result in cell["results"]:
            digits = 0 if value == "requests_per_second" else 2
            rows.setdefault(result["candidate"], []).append(f"{result[value]:,.{digits}f}")
    table.rows = [
        (TITLES[key], *values) for key, values in rows.items() if len(values) == len(found)
    ]
    return table


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


def startup(found: dict[str, Any]) -> Table:
    """Show what a start costs."""
    columns = ("", "create_app ms", "modules", "flask --help ms", "imports")
    table = Table("start", columns)
    for key, facts in found.get("applications", {}).items():
        names = ("create_app_ms", "create_app_imports", "flask_help_ms", "flask_help_imports")
        table.rows.append((TITLES[key], *(f"{facts[name]:g}" for name in names if name in facts)))
    return table


def baking(results: Results) -> Table:
    """Show the way from nothing to the first answer."""
    table = Table("from nothing, seconds", ("", "seconds"))
    names = {
        "floor_seconds": "cookiecutter alone (a template of one empty file)",
        "without_hooks_seconds": "this template without its hooks",
        "template_seconds": "this template",
    }
    bake = results.get("bake", {})
    table.rows += [(text, f"{bake[name]:.2f}") for name, text in names.items() if name in bake]
    for way, steps in results.get("first_answer", {}).items():
        for step, seconds in steps.items():
            table.rows.append((f"first answer {way.replace('_', ' ')}: {step}", f"{seconds:.2f}"))
    return table
