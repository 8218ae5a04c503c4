"""A private MariaDB from the machine's programs."""

import functools
import secrets
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pymysql
import pymysql.cursors

from .process import PASSWORD, USER, Server, Setting, running
from .programs import find_program
from .workshop import account, make_folder, run_tool

# quick rather than durable; log_warnings=4 logs clients that left abruptly
DEFAULTS: dict[str, Setting] = {
    "innodb_flush_log_at_trx_commit": 0,
    "innodb_fast_shutdown": 2,
    "innodb_buffer_pool_size": "32M",
    "innodb_log_file_size": "8M",
    "character_set_server": "utf8mb4",
    "collation_server": "utf8mb4_general_ci",
    "log_warnings": 4,
}


class MariaDB(Server):
    """A MariaDB server with one administrator, `USER`, who has a password."""

    name = "mariadb"
    quit_signal = signal.SIGTERM

    def __init__(self, settings: dict[str, Setting]) -> None:
        super().__init__(account("mysql"), DEFAULTS | settings)
        run_tool(["cp", "-Rp", str(_template()), "data"], self.owner, self.folder)

    def command(self) -> list[str]:
        """Give the command line that runs the server in the foreground."""
        own = {
            "datadir": self.folder / "data",
            "port": self.port,
            "bind_address": "127.0.0.1",
            "socket": self.folder / "socket",
            "pid_file": self.folder / "server.pid",
            "init_file": _template().with_name("init.sql"),
        }
        options = [f"--{name}={value}" for name, value in (self.settings | own).items()]
        program = find_program("mariadbd", "mysqld")
        # since 11.4 it would speak TLS unasked, which no proxy can read
        tls = [] if "ssl_cert" in self.settings else ["--skip-ssl"]
        return [str(program), "--no-defaults", "--skip-name-resolve", *tls, *options]

    def ask(self) -> list[dict[str, Any]]:
        """Ask the server anything; raise while it does not answer."""
        return self.rows("SELECT 1")

    def url(self, database: str = "mysql", port: int | None = None) -> str:
        """Give SQLAlchemy's URL of a database, through another port if there is a proxy."""
        return f"mysql+pymysql://{USER}:{PASSWORD}@127.0.0.1:{port or self.port}/{database}"

    def rows(
        self, query: str, parameters: tuple[object, ...] = (), database: str = "mysql"
    ) -> list[dict[str, Any]]:
        """Run one statement as an administrator, outside a transaction, and give its rows."""
        with (
            pymysql.connect(
                host="127.0.0.1",
                port=self.port,
                user=USER,
                password=PASSWORD,
                database=database,
                autocommit=True,
                connect_timeout=5,
                read_timeout=60,
                cursorclass=pymysql.cursors.DictCursor,
            ) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(query, parameters or None)
            return list(cursor.fetchall())

    def create_database(self, name: str | None = None) -> str:
        """Make an empty database and give its name."""
        name = name or f"test_{secrets.token_hex(6)}"
        self.rows(f"CREATE DATABASE `{name}`")
        return name

    def connections(self, database: str | None = None) -> list[dict[str, Any]]:
        """Give the process list's rows of clients other than this question's own."""
        return self.rows(
            "SELECT * FROM information_schema.processlist WHERE user = %s"
            " AND id <> connection_id() AND coalesce(db, '') = coalesce(%s, db, '') ORDER BY id",
            (USER, database),
        )

    def kill_backends(self, database: str | None = None) -> int:
        """End every client's connection from the server's side and tell how many."""
        killed = 0
        for connection in self.connections(database):
            try:
                self.rows(f"KILL {connection['ID']}")
            except pymysql.err.OperationalError:
                continue  # it left by itself in the meantime
            killed += 1
        return killed


@contextmanager
def mariadb(**settings: Setting) -> Iterator[MariaDB]:
    """Run a private MariaDB; settings are its own, such as `max_connections=20`."""
    with running(MariaDB(settings)) as server:
        yield server


@functools.cache
def _template() -> Path:
    """Initialise one data folder that every server of this process starts as a copy of."""
    owner = account("mysql")
    folder = make_folder("mariadb-template", owner)
    who = f"{USER}@127.0.0.1"
    (folder / "init.sql").write_text(
        f"CREATE USER IF NOT EXISTS {who} IDENTIFIED BY '{PASSWORD}';\n"
        f"GRANT ALL ON *.* TO {who} WITH GRANT OPTION;\n"
    )
    command = [
        str(find_program("mariadb-install-db")),
        "--no-defaults",
        f"--datadir={folder / 'data'}",
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
        "--skip-name-resolve",
        f"--innodb-log-file-size={DEFAULTS['innodb_log_file_size']}",
    ]
    run_tool(command, owner, folder)
    return folder / "data"
