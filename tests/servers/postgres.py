"""A private PostgreSQL, from the machine's programs or from a wheel."""

import contextlib
import functools
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from .process import PASSWORD, USER, Server, Setting, running
from .programs import postgresql_programs
from .workshop import account, make_folder, run_tool, workshop

# quick rather than durable; debug1 is the level at which a client that left abruptly is logged
DEFAULTS: dict[str, Setting] = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "log_min_messages": "debug1",
    "log_connections": "on",
    "log_disconnections": "on",
}


class PostgreSQL(Server):
    """A PostgreSQL server whose superuser is `USER`, with password authentication."""

    name = "postgresql"
    quit_signal = signal.SIGINT
    host = "127.0.0.1"

    def __init__(self, settings: dict[str, Setting]) -> None:
        super().__init__(account("postgres"), DEFAULTS | settings)
        self.fill()

    def fill(self) -> None:
        """Make the data folder."""
        run_tool(["cp", "-Rp", str(_template()), "data"], self.owner, self.folder)

    def command(self) -> list[str]:
        """Give the command line that runs the server in the foreground."""
        own = {
            "port": self.port,
            "listen_addresses": self.host,
            "unix_socket_directories": "",
        }
        options = [f"--{name}={value}" for name, value in (self.settings | own).items()]
        return [str(programs() / "postgres"), "-D", str(self.folder / "data"), *options]

    def ask(self) -> list[dict[str, Any]]:
        """Ask the server anything; raise while it does not answer."""
        return self.rows("SELECT 1")

    def url(self, database: str = "postgres", port: int | None = None) -> str:
        """Give SQLAlchemy's URL of a database, through another port if there is a proxy."""
        place = f"{self.host}:{port or self.port}"
        return f"postgresql+psycopg://{USER}:{PASSWORD}@{place}/{database}"

    def dsn(self, database: str = "postgres", port: int | None = None) -> str:
        """Give psycopg's URL of a database."""
        return self.url(database, port).replace("+psycopg", "")

    def rows(
        self, query: str, parameters: tuple[object, ...] = (), database: str = "postgres"
    ) -> list[dict[str, Any]]:
        """Run one statement as an administrator, outside a transaction, and give its rows."""
        with psycopg.connect(
            self.dsn(database), autocommit=True, connect_timeout=5, row_factory=dict_row
        ) as connection:
            cursor = connection.execute(query.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []

    def create_database(self, name: str | None = None) -> str:
        """Make an empty database and give its name."""
        name = name or f"test_{secrets.token_hex(6)}"
        self.rows(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)).as_string())
        return name

    def connections(self, database: str | None = None) -> list[dict[str, Any]]:
        """Give pg_stat_activity's rows of clients other than this question's own."""
        return self.rows(
            "SELECT * FROM pg_stat_activity WHERE backend_type = 'client backend'"
            " AND pid <> pg_backend_pid() AND datname = coalesce(%s, datname) ORDER BY pid",
            (database,),
        )

    def kill_backends(self, database: str | None = None) -> int:
        """End every client's connection from the server's side and tell how many."""
        return len(
            self.rows(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
                " AND datname = coalesce(%s, datname)",
                (database,),
            )
        )


@contextmanager
def postgresql(**settings: Setting) -> Iterator[PostgreSQL]:
    """Run a private PostgreSQL; settings are its own, such as `max_connections=20`."""
    with running(PostgreSQL(settings)) as server:
        yield server


@functools.cache
def _template() -> Path:
    """Initialise one cluster that every server of this process starts as a copy of."""
    owner = account("postgres")
    folder = make_folder("postgresql-template", owner)
    password_file = folder / "password"
    password_file.write_text(PASSWORD)
    command = [
        str(programs() / "initdb"),
        "--pgdata=data",
        "--no-sync",
        "--encoding=UTF8",
        "--locale=C",
        "--auth=scram-sha-256",
        f"--username={USER}",
        f"--pwfile={password_file}",
    ]
    run_tool(command, owner, folder)
    return folder / "data"


@functools.cache
def programs() -> Path:
    """Give the folder of the programs, at a place where the server's user may run them."""
    folder = postgresql_programs()
    if folder is None:
        raise RuntimeError("PostgreSQL is not installed")
    with contextlib.suppress(PermissionError):
        version = [str(folder / "postgres"), "--version"]
        subprocess.run(
            version, check=True, cwd="/", capture_output=True, timeout=60, **account("postgres")
        )
        return folder
    # the wheel lies in a private home folder: its programs find their libraries next to it
    site, package = folder.parents[2], folder.parents[1].name
    copy = workshop() / "wheel"
    for name in (package, f"{package}.libs"):
        if (site / name).exists():
            shutil.copytree(site / name, copy / name)
    return copy / folder.relative_to(site)
