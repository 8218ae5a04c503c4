"""How commands take numbers, and show what they found: a table, JSON or Markdown."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from math import isnan
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

Cells = Sequence[object]
F = TypeVar("F", bound=Callable[..., Any])

WIDE = 1000  # columns; a file or a pipe has no edge

option = partial(click.option, show_default=True)


class Number(click.FloatRange):
    """A number within bounds, and no nan, which is within all of them."""

    def convert(self, value: Any, *context: Any) -> float:
        """Read it."""
        number: float = super().convert(value, *context)
        if isnan(number):
            self.fail(f"{value} is not a number.", *context)
        return number


def format_option(*formats: str) -> Callable[[F], F]:
    """Return the option `--format`; the first format is the default."""
    return option("--format", "form", type=click.Choice(formats), default=formats[0])


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


def show(what: RenderableType) -> None:
    """Print tables; lines do not end in spaces when nobody looks at them."""
    on = console()
    with on.capture() as capture:
        on.print(what)
    for line in capture.get().splitlines():
        click.echo(line if on.is_terminal else line.rstrip(), color=on.is_terminal)


def markdown(columns: Sequence[str], rows: Iterable[Cells]) -> None:
    """Print a table in Markdown."""
    for cells in (columns, ["---"] * len(columns), *rows):
        click.echo("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")


def dump(found: object) -> None:
    """Print JSON."""
    click.echo(json.dumps(found, indent=2))
