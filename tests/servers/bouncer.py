"""A private PgBouncer in front of a private PostgreSQL."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.rows import dict_row

from .postgres import PostgreSQL
from .process import PASSWORD, USER, Server, Setting, running
from .programs import find_program
from .workshop import account


class PgBouncer(Server):
    """A PgBouncer that forwards every database of its PostgreSQL, with the same user."""

    name = "pgbouncer"
    # the immediate end in current versions; older ones do not know it and end at once too
    quit_signal = getattr(signal, "SIGQUIT", signal.SIGTERM)  # Windows only reads this line

    def __init__(self, behind: PostgreSQL, settings: dict[str, Setting], shipped: str = "") -> None:
        super().__init__(account("postgres"), settings)
        self.behind = behind
        users = self.folder / "users.txt"
        users.write_text(f'"{USER}" "{PASSWORD}"\n')
        own = {
            "listen_addr": "127.0.0.1",
            "listen_port": self.port,
            "unix_socket_dir": "",
            "auth_type": "scram-sha-256",
            "auth_file": users,
            "admin_users": USER,
        }
        shipped = shipped or f"[databases]\n* = host=127.0.0.1 port={behind.port}\n[pgbouncer]"
        # a second section of the same name would begin with all defaults
        kept = [line for line in shipped.splitlines() if line.partition(" =")[0] not in own]
        text = "\n".join(
            [*kept, *(f"{name} = {value}" for name, value in (settings | own).items()), ""]
        )
        (self.folder / "pgbouncer.ini").write_text(text)

    def command(self) -> list[str]:
        """Give the command line that runs the server in the foreground."""
        return [str(find_program("pgbouncer")), str(self.folder / "pgbouncer.ini")]

    def ask(self) -> list[dict[str, Any]]:
        """Ask the server anything; raise while it does not answer."""
        return self.show("VERSION")

    def url(self, database: str = "postgres", port: int | None = None) -> str:
        """Give SQLAlchemy's URL of a database through PgBouncer."""
        return self.behind.url(database, port or self.port)

    def dsn(self, database: str = "postgres", port: int | None = None) -> str:
        """Give psycopg's URL of a database through PgBouncer."""
        return self.behind.dsn(database, port or self.port)

    def show(self, what: str) -> list[dict[str, Any]]:
        """Ask the admin console, such as `show("POOLS")`."""
        with psycopg.connect(
            self.dsn("pgbouncer"), autocommit=True, connect_timeout=5, row_factory=dict_row
        ) as connection:
            return connection.execute(f"SHOW {what}".encode()).fetchall()


@contextmanager
def pgbouncer(
    behind: PostgreSQL, pool_mode: str = "transaction", shipped: str = "", **settings: Setting
) -> Iterator[PgBouncer]:
    """Run a private PgBouncer; settings are its own, such as `default_pool_size=4`.

    `shipped` is a whole pgbouncer.ini, of which only the place and the users are changed.
    """
    own = settings if shipped else {"pool_mode": pool_mode, **settings}
    with running(PgBouncer(behind, own, shipped)) as server:
        yield server
