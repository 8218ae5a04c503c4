"""PgBouncer: what its admin console says about a database, and its configuration."""

from __future__ import annotations

from dataclasses import dataclass

import click
from flask import current_app, render_template
from sqlalchemy.engine import Engine

CONSOLE = "pgbouncer"  # the database that is the console


@dataclass(frozen=True)
class Pooler:
    """How PgBouncer shares its connections."""

    mode: str
    server_connections: int
    max_client_connections: int


def ask_console(engine: Engine, timeout: float) -> Pooler | None:
    """Ask the console; None where that is not allowed."""
    try:
        import psycopg
        from psycopg.rows import dict_row
    except ImportError:  # another driver is in use
        return None
    place = engine.url.set(database=CONSOLE).difference_update_query(["options"])
    _, arguments = engine.dialect.create_connect_args(place)
    arguments["connect_timeout"] = max(2, int(timeout))
    try:
        with psycopg.connect(**arguments, autocommit=True, row_factory=dict_row) as console:
            config = {row["key"]: row["value"] for row in console.execute("SHOW CONFIG")}
            databases = {row["name"]: row for row in console.execute("SHOW DATABASES")}
    except (psycopg.Error, LookupError):
        return None
    row = databases.get(engine.url.database, {})
    sizes = [int(row.get("pool_size") or config["default_pool_size"])]
    sizes += [int(config[name]) for name in ("max_db_connections", "max_user_connections")]
    return Pooler(
        mode=row.get("pool_mode") or config["pool_mode"],
        server_connections=min(size for size in sizes if size),
        max_client_connections=int(config["max_client_conn"]),
    )


def configuration(instances: int, workers: int, servers: int, capacity: int = 0) -> str:
    """Return a pgbouncer.ini for the service's server, without a password."""
    pools = current_app.extensions["flask_pool"]
    engine = pools.engines["default"]
    _, place = engine.dialect.create_connect_args(engine.url)
    ports = {port or "5432" for port in str(place.get("port", "")).split(",")}
    if engine.dialect.name != "postgresql" or len(ports) > 1:
        raise click.UsageError("--pgbouncer needs PostgreSQL, on the same port of each host")
    return render_template(
        "flask_pool/pgbouncer.ini", config=pools.settings,  # what the application's lacks, too
        host=place.get("host", "127.0.0.1"), port=ports.pop(),
        instances=instances, workers=workers, servers=servers, capacity=capacity,
    )  # fmt: skip
