"""Settings: `defaults.toml`, the environment, then `test_config`, each checked."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from typing import Any

import click
from dotenv import dotenv_values
from flask import Flask
from flask.cli import ScriptInfo

from .pool import settings

CHECKS = settings.CHECKS | {
    "SECRET_KEY": settings.text,
    "MAX_CONTENT_LENGTH": settings.whole(1, 2**40),
    "CONTENT_SECURITY_POLICY": settings.text,
    "TESTING": settings.boolean,
}


def init_app(app: Flask, test_config: Mapping[str, Any] | None) -> None:
    """Fill `app.config`; SettingError with a line for each value that is not accepted."""
    with app.open_resource("defaults.toml") as file:
        values: dict[str, Any] = tomllib.load(file)
    own, environ, overrides = {*CHECKS, *values} - {"TESTING"}, environment(), test_config or {}
    # any other key as FLASK_<KEY>; FLASK_DEBUG is read by Flask itself
    prefixed = {name: value for name, value in environ.items() if name.startswith("FLASK_")}
    values |= {
        name.removeprefix("FLASK_"): parsed(value)
        for name, value in prefixed.items()
        if value and name != "FLASK_DEBUG"
    }
    values |= {
        name: value if name in CHECKS else parsed(value)
        for name, value in settings.from_environment(own, environ).items()
    }
    variables = {name: settings.variable_of(name, environ) for name in own - overrides.keys()}
    app.config.from_mapping(settings.checked(values | overrides, CHECKS, variables))
    if not app.debug and not app.testing:
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


def parsed(value: str) -> Any:
    """Return what a variable says in JSON, as Flask reads its own; else its text."""
    try:
        return json.loads(value)
    except ValueError:
        return value
