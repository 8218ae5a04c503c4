"""The results in the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table as RichTable

from .tables import Results, tables
from .targets import ASSERTED, targets


def show(results: Results, console: Console) -> None:
    """Print every table, then what was to be reached."""
    for table in tables(results):
        shown = RichTable(title=table.title, title_justify="left", title_style="bold")
        for index, column in enumerate(table.columns):
            shown.add_column(column, justify="right" if index else "left", no_wrap=True)
        for row in table.rows:
            shown.add_row(*row, style="green" if row[0].startswith("baked service") else None)
        console.print(shown, "")
    facts = results["facts"]
    console.print(f"took {facts['took_seconds']} s")
    for what in facts["left_out"]:
        console.print(f"left out: {what}", style="yellow")
    console.print("\nto reach", style="bold")
    for target in targets(results):
        console.print(f"  {'yes' if target.is_reached else 'no '}  {target}", highlight=False)
    for what, where in ASSERTED.items():
        console.print(f"  -    {what}: asserted by {where}", highlight=False)
