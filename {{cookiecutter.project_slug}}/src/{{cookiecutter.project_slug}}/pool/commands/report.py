"""How commands show what they found: a table, JSON or Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Cells = Sequence[object]

WIDE = 1000  # columns; a file or a pipe has no edge


def format_option(*formats: str) -> Any:
    """Return the option `--format`; the first format is the default."""
    return click.option(
        "--format", "form", type=click.Choice(formats), default=formats[0], show_default=True
    )


def console() -> Console:
    """Return a console for standard output, as it is now."""
    from rich.console import Console  # not needed to serve

    found = Console(highlight=False, markup=False, emoji=False)
    if not found.is_terminal:
        found.width = WIDE
    return found


def table(on: Console, columns: Sequence[str], rows: Iterable[Cells]) -> Table:
    """Return a table; plain columns when nobody looks at it."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(box=box.ROUNDED if on.is_terminal else None, pad_edge=on.is_terminal)
    for column in columns:
        made.add_column(column, justify="left")
    for row in rows:
        made.add_row(*(Text(str(cell)) for cell in row))
    return made


def show(columns: Sequence[str], rows: Iterable[Cells]) -> None:
    """Print a table."""
    on = console()
    on.print(table(on, columns, rows))


def markdown(columns: Sequence[str], rows: Iterable[Cells]) -> None:
    """Print a table in Markdown."""
    for cells in (columns, ["---"] * len(columns), *rows):
        click.echo("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")


def dump(found: object) -> None:
    """Print JSON."""
    click.echo(json.dumps(found, indent=2))
