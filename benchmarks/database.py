"""The databases that are measured on: private, quiet, with the baked project's schema."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import servers

from .project import Project

# quiet, with room for every candidate's pool at once
QUIET: dict[str, str | int | float] = {
    "log_min_messages": "warning",
    "log_connections": "off",
    "log_disconnections": "off",
    "max_connections": 500,
    "lock_timeout": "10s",
}


@dataclass(frozen=True)
class Data:
    """A database with the table of users."""

    server: servers.PostgreSQL | servers.MariaDB
    name: str

    @property
    def kind(self) -> str:
        """Return the database's own name."""
        return "PostgreSQL" if isinstance(self.server, servers.PostgreSQL) else "MariaDB"

    def url(self, port: int | None = None) -> str:
        """Return its URL, through another port if there is a proxy."""
        return self.server.url(self.name, port)

    def fill(self) -> None:
        """Put ten users into the table, and nothing else."""
        postgresql = isinstance(self.server, servers.PostgreSQL)
        rows = ", ".join(f"('User {number}')" for number in range(1, 11))
        for statement in (
            f"TRUNCATE users{' RESTART IDENTITY' * postgresql}",
            f"INSERT INTO users (name) VALUES {rows}",
            f"ANALYZE {'' if postgresql else 'TABLE '}users",
        ):
            self.server.rows(statement, database=self.name)

    def refill(self) -> None:
        """Wait for what is still being posted by those who no longer listen, then start anew."""
        last, same = -1, 0
        while same < 3:
            (row,) = self.server.rows("SELECT max(id) AS last FROM users", (), self.name)
            same = same + 1 if row["last"] == last else 0
            last = row["last"]
            time.sleep(0.1)
        self.fill()

    def opened(self, since: int | None = None) -> int:
        """Return how many connections were ever opened to it; since an earlier answer, how many."""
        if isinstance(self.server, servers.PostgreSQL):
            time.sleep(0.1)  # what has just ended is counted at once, but by itself
            statement = "SELECT sessions FROM pg_stat_database WHERE datname = %s"
            (row,) = self.server.rows(statement, (self.name,))
            return int(row["sessions"]) - (since or 0)
        (row,) = self.server.rows("SHOW GLOBAL STATUS LIKE 'Connections'")
        # that counts the one who asks
        return int(row["Value"]) - (0 if since is None else since + 1)

    def version(self) -> str:
        """Return the server's own version."""
        (row,) = self.server.rows("SELECT version() AS version")
        # without the names that distributors add
        return str(row["version"]).removeprefix("PostgreSQL ").partition(" ")[0].partition("-")[0]


@contextmanager
def on_postgresql(project: Project) -> Iterator[Data]:
    """Run a PostgreSQL with ten users."""
    with servers.postgresql(**QUIET) as server:
        yield _prepared(server, project)


@contextmanager
def on_mariadb(project: Project) -> Iterator[Data]:
    """Run a MariaDB with ten users."""
    with servers.mariadb(max_connections=500, log_warnings=0) as server:
        yield _prepared(server, project)


def _prepared(server: servers.PostgreSQL | servers.MariaDB, project: Project) -> Data:
    data = Data(server, server.create_database())
    project.run(data.url(), "flask", "db", "upgrade")
    data.fill()
    return data
