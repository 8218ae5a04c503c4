"""Commands for operators: `flask pool trace`, `status`, `check`, `plan` and `bench`."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import click
from flask import Flask
from flask.cli import AppGroup
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from .. import missing

NAMES = ("trace", "status", "check", "plan", "bench")


def init_app(app: Flask) -> None:
    """Add `flask pool ...`."""
    if "pool" not in app.cli.commands:  # else it is the application's own
        app.cli.add_command(_Group("pool", help="Look at the connection pool and size it."))


class _Group(AppGroup):
    """Commands whose failure is one line, and which end quietly when they are interrupted."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(NAMES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command when it is asked for, so that serving does without."""
        if cmd_name not in NAMES:
            return None
        command: click.Command = import_module(f".{cmd_name}", __name__).command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Read a command's arguments and run it."""
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's, for what it runs aside
            signal.signal(signal.SIGINT, signal.default_int_handler)
        with _one_line():
            return super().invoke(ctx)


@contextmanager
def _one_line() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        raise click.ClickException(first_line(error)) from error
    except ModuleNotFoundError as error:
        raise click.ClickException(missing(error)) from error
    except (TypeError, AttributeError, UnicodeError) as error:  # a driver's, of the URL's options
        raise click.ClickException(f"{type(error).__name__}: {error}") from error
    except click.UsageError as error:
        error.ctx = None  # else a text on usage comes before
        raise
    except KeyboardInterrupt:
        raise click.exceptions.Exit(128 + signal.SIGINT) from None


def first_line(error: SQLAlchemyError) -> str:
    """Return the driver's own words, on one line."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    # PyMySQL's errors are a number and a text
    words = cause.args[-1] if cause.args and isinstance(cause.args[-1], str) else str(cause)
    return f"{type(cause).__name__}: {words.strip().partition(chr(10))[0]}"
