"""Commands for operators: `flask pool trace`, `status`, `check`, `plan` and `bench`.

The service does without this folder: remove it and the line of `create_app` that names it.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click
from flask import Flask
from flask.cli import AppGroup
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

NAMES = ("trace", "status", "check", "plan", "bench")


class Command(click.Command):
    """A command whose failure is one line."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; say what the database or the network said, without a stack."""
        try:
            return super().invoke(ctx)
        except SQLAlchemyError as error:
            raise click.ClickException(first_line(error)) from error


class Group(AppGroup):
    """Imports a command when it is asked for, so that serving does without."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands."""
        return list(NAMES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in NAMES:
            return None
        command: click.Command = import_module(f".{cmd_name}", __name__).command
        return command


def init_app(app: Flask) -> None:
    """Add `flask pool ...`."""
    app.cli.add_command(Group("pool", help="Look at the connection pool and size it."))


def first_line(error: SQLAlchemyError) -> str:
    """Return the driver's own words, on one line."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    # PyMySQL's errors are a number and a text
    words = cause.args[-1] if cause.args and isinstance(cause.args[-1], str) else str(cause)
    return f"{type(cause).__name__}: {words.strip().partition(chr(10))[0]}"
