"""How commands show what they found: a table, JSON or Markdown."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

Cells = Sequence[object]
F = TypeVar("F", bound=Callable[..., Any])

option = partial(click.option, show_default=True)

WIDE = 1000  # columns; a file or a pipe has no edge


def format_option(*formats: str) -> Callable[[F], F]:
    """Return the option `--format`; the first format is the default."""
    choice = click.Choice(formats)
    return option("--format", "form", type=choice, default=formats[0])


def console() -> Console:
    """Return a console for standard output, as it is now."""
    from rich.console import Console  # not needed to serve

    found = Console(highlight=False, markup=False, emoji=False)
    if not found.is_terminal:
        found.width = WIDE
    return found


def table(columns: Sequence[str], rows: Iterable[Cells]) -> Table:
    """Return a table; plain columns when nobody looks at it."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    seen = console().is_terminal
    made = Table(*columns, box=box.ROUNDED if seen else None, pad_edge=seen)
    for row in rows:
        made.add_row(*(Text(str(cell)) for cell in row))
    return made


def print_on(console: Console, what: RenderableType) -> None:
    """Print tables; lines do not end in spaces when nobody looks at them."""
    if console.is_terminal:
        console.print(what)
        return
    with console.capture() as capture:
        console.print(what)
    for line in capture.get().splitlines():
        click.echo(line.rstrip())


def show(columns: Sequence[str], rows: Iterable[Cells]) -> None:
    """Print a table."""
    print_on(console(), table(columns, rows))


def markdown(columns: Sequence[str], rows: Iterable[Cells]) -> None:
    """Print a table in Markdown."""
    for cells in (columns, ["---"] * len(columns), *rows):
        click.echo("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")


def dump(found: object) -> None:
    """Print JSON."""
    click.echo(json.dumps(found, indent=2))
