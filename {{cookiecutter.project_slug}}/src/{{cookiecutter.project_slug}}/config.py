"""Settings: `defaults.toml`, the environment, then `test_config`, each checked."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from dotenv import dotenv_values
from flask import Flask
from flask.cli import ScriptInfo

from .pool import settings


def init_app(app: Flask, test_config: Mapping[str, Any] | None) -> None:
    """Fill `app.config`; SettingError with a line for each value that is not accepted."""
    defaults = tomllib.loads(Path(app.root_path, "defaults.toml").read_text("utf-8"))
    # any other key may be set, in defaults.toml too, without a check
    checks = settings.CHECKS | settings.SERVICE_CHECKS
    app.config.update(settings.read(defaults, environment(), test_config or {}, checks))
    if app.testing is not True and not app.debug:
        settings.require_secret(app.config["SECRET_KEY"])


def environment() -> Mapping[str, str]:
    """Return the environment, in which `.env` counts less, by whatever name it sets a key."""
    command = click.get_current_context(silent=True)
    script = command.find_object(ScriptInfo) if command else None
    if script is None or not script.load_dotenv_defaults:
        return os.environ
    # the `flask` command has put both into one
    added = dotenv()
    environ = {name: value for name, value in os.environ.items() if added.get(name) != value}
    settings.add_dotenv(environ, added)
    return environ


def load_dotenv() -> None:
    """Add what the files of the working directory set to the environment, which counts more."""
    settings.add_dotenv(os.environ, dotenv())


def dotenv() -> dict[str, str | None]:
    """Return what `.env` and `.flaskenv` of the working directory set."""
    return dotenv_values(".flaskenv") | dotenv_values(".env")
