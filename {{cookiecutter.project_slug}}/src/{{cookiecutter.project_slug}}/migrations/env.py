"""How `flask db` reaches the database: one connection, one deployment at a time."""

from __future__ import annotations

from alembic import context
from flask import current_app
from sqlalchemy import create_engine, text
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import NullPool

LOCK = 7_305_808_110_469  # any number that is this project's alone
LOCK_TIMEOUT = 10  # seconds that a migration waits for a table before it gives up
TURN_TIMEOUT = 600  # seconds that it waits for another deployment

db = current_app.extensions["migrate"].db


def migration_engine() -> Engine:
    """Return an engine without a pool, and without the service's statement timeout."""
    engine: Engine = db.engine
    if in_memory(engine):  # it lives in the service's one connection
        return engine
    options = {"connect_args": {"timeout": TURN_TIMEOUT}} if engine.name == "sqlite" else {}
    return create_engine(engine.url, poolclass=NullPool, **options)


def in_memory(engine: Engine) -> bool:
    """Tell whether this is SQLite without a file."""
    return engine.url.query.get("mode") == "memory"


def take_turn(connection: Connection) -> None:
    """Let one deployment migrate at a time, and don't queue up behind a busy table."""
    if connection.dialect.name == "postgresql":
        # held until the transaction ends, so it works behind PgBouncer too
        connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
        connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}s'"))
    elif connection.dialect.name in ("mysql", "mariadb"):
        if connection.scalar(text(f"SELECT GET_LOCK('migrations-{LOCK}', {TURN_TIMEOUT})")) != 1:
            raise TimeoutError("another deployment is still migrating this server")
        connection.execute(text(f"SET SESSION lock_wait_timeout = {LOCK_TIMEOUT}"))
    elif connection.dialect.name == "sqlite" and not in_memory(connection.engine):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def run_online() -> None:
    """Migrate the database that is configured."""
    with migration_engine().connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=db.metadata,
            render_as_batch=connection.dialect.name == "sqlite",
            transactional_ddl=connection.dialect.name in ("sqlite", "postgresql"),
        )
        with context.begin_transaction():
            take_turn(connection)
            context.run_migrations()


def run_offline() -> None:
    """Print the SQL instead of running it."""
    context.configure(url=db.engine.url, target_metadata=db.metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    run_offline()
else:
    run_online()
