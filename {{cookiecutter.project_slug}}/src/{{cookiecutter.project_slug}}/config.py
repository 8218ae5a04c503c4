"""Settings: `defaults.toml`, the environment, then `test_config`, each checked."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

from flask import Config, Flask
from flask_pool import settings

# what a URL that names no driver stands for: the drivers that pyproject.toml installs
DRIVERS = {
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}


def init_app(app: Flask, test_config: Mapping[str, Any] | None) -> None:
    """Fill `app.config`; SettingError with a line for each value that is not accepted."""
    defaults, debug = Config(app.root_path), app.debug
    defaults.from_file("defaults.toml", tomllib.load, text=False)
    # any key of Flask's as FLASK_<KEY>; FLASK_DEBUG it has read before, and knows more words for no
    app.config.from_prefixed_env()
    app.debug = debug
    # keys of defaults.toml, and all with a check, by their own name too
    environ = settings.environment()
    app.config.update(settings.read(defaults, environ, test_config or {}, CHECKS))
    if app.testing is not True and not app.debug:
        settings.require_secret(app.config["SECRET_KEY"])


def database_url(value: Any) -> Any:
    """Name the driver in a database URL, and check it."""
    if isinstance(value, str):
        scheme, separator, place = value.partition("://")
        value = f"{DRIVERS.get(scheme, scheme)}{separator}{place}"
    return settings.database_url(value)


CHECKS = settings.CHECKS | {
    "SQLALCHEMY_DATABASE_URI": database_url,
    "SQLALCHEMY_REPLICA_URIS": settings.database_urls(database_url),
    "SQLALCHEMY_BINDS": settings.binds(database_url),
    "SQLALCHEMY_ENGINE_OPTIONS": settings.table,
    "SECRET_KEY": settings.text,
    "MAX_CONTENT_LENGTH": settings.whole(1, 2**40),
    "CONTENT_SECURITY_POLICY": settings.text,
}
