"""The connection pool: fair, bounded, seen. It knows nothing of the service's own tables.

Each file holds one duty; `configure` and `init_app` are all that `create_app` needs.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.engine import Connection, Engine

from . import (
    care,
    leaks,
    lifecycle,
    options,
    page,
    resilience,
    scrape,
    sqlite,
    timing,
    transactions,
)

__all__ = ["Pools", "configure", "init_app"]

configure = options.configure


@dataclass
class Pools:
    """What `app.extensions["pool"]` holds."""

    engines: dict[str, Engine] = field(default_factory=dict)
    twins: dict[Engine | Connection, transactions.Twins] = field(default_factory=dict)


def init_app(app: Flask, db: SQLAlchemy) -> None:
    """Watch the engines that `db` made for `app`."""
    app.extensions["pool"] = pools = Pools()
    with app.app_context():
        engines = dict(db.engines)
    for key, engine in engines.items():
        name = key or "default"
        pools.engines[name] = engine
        care.watch(engine, name, app.config)
        leaks.watch(engine)
        sqlite.watch(engine)
        lifecycle.watch(engine)
        pools.twins[engine] = transactions.watch(engine)
    timing.init_app(app, pools.engines.values())
    resilience.init_app(app, db)
    app.register_blueprint(scrape.bp)
    app.register_blueprint(page.bp)
