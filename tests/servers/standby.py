"""A private PostgreSQL and standbys that stream from it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from psycopg import sql
from psycopg.conninfo import make_conninfo

from .postgres import PostgreSQL, programs
from .process import PASSWORD, USER, Setting
from .waiting import wait_until
from .workshop import run_tool

# the tests kill servers, and fsync=off loses nothing then: the machine itself goes on
SETTINGS: dict[str, Setting] = {
    "synchronous_commit": "on",
    "wal_keep_size": "256MB",  # instead of slots, which a promoted standby would not have
    "wal_receiver_timeout": "5s",
    "wal_retrieve_retry_interval": "200ms",
}


class Standby(PostgreSQL):
    """A copy of a running PostgreSQL that streams from it; promoted it is one like any other."""

    name = "standby"

    def __init__(self, upstream: PostgreSQL, number: int, *, same_port: bool = False) -> None:
        self.upstream = upstream
        self.label = f"s{number}"  # what synchronous_standby_names calls it
        super().__init__(upstream.settings)
        if same_port:
            self.host, self.port = f"127.0.0.{number + 1}", upstream.port

    def fill(self) -> None:
        """Copy the data of the server that this one is to follow."""
        shutil.rmtree(self.folder / "data", ignore_errors=True)
        source = ["--dbname", _conninfo(self.upstream, self.label), "--pgdata=data"]
        how = ["--wal-method=stream", "--checkpoint=fast", "--write-recovery-conf", "--no-sync"]
        run_tool([str(programs() / "pg_basebackup"), *source, *how], self.owner, self.folder)
        # a promoted server must not wait for standbys that follow another
        with (self.folder / "data" / "postgresql.auto.conf").open("a") as file:
            file.write("synchronous_standby_names = ''\n")

    def promote(self) -> None:
        """Make it a primary, and wait until it is one."""
        self.rows("SELECT pg_promote(wait_seconds => 30)")

    def follow(self, upstream: PostgreSQL) -> None:
        """Stream from another server from now on."""
        self.upstream = upstream
        configure(self, "primary_conninfo", _conninfo(upstream, self.label))

    def delay_replay(self, time: str) -> None:
        """Have it apply each commit so much later, such as "3s"; "0" ends that."""
        configure(self, "recovery_min_apply_delay", time)

    def pause_replay(self) -> None:
        """Have it receive, and show nothing new."""
        self.rows("SELECT pg_wal_replay_pause()")
        question = "SELECT pg_get_wal_replay_pause_state() AS state"
        wait_until(lambda: self.rows(question)[0]["state"] == "paused")

    def resume_replay(self) -> None:
        """Have it show what it received."""
        self.rows("SELECT pg_wal_replay_resume()")

    def catch_up(self) -> None:
        """Wait until it shows all that its upstream has written by now."""
        here = self.upstream.rows("SELECT pg_current_wal_flush_lsn() AS lsn")[0]["lsn"]
        question = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn AS there"
        wait_until(lambda: self.rows(question, (here,))[0]["there"])


class Cluster:
    """A primary and its standbys, which are called s1, s2 and so on."""

    def __init__(self, primary: PostgreSQL, *, same_port: bool = False) -> None:
        self.primary = primary
        self.standbys: list[Standby] = []
        self.same_port = same_port

    @property
    def nodes(self) -> list[PostgreSQL]:
        """All servers: the first primary, then the others."""
        return [self.primary, *self.standbys]

    def add_standby(self) -> Standby:
        """Start one more standby, and wait until it streams."""
        number = len(self.standbys) + 1
        standby = Standby(self.primary, number, same_port=self.same_port)
        self.standbys.append(standby)
        standby.start()
        question = "SELECT 1 FROM pg_stat_replication WHERE application_name = %s AND state = %s"
        wait_until(lambda: self.primary.rows(question, (standby.label, "streaming")))
        return standby

    def url(self, database: str = "postgres") -> str:
        """Give SQLAlchemy's URL with all hosts, the first primary first."""
        hosts = "&".join(f"host={node.host}:{node.port}" for node in self.nodes)
        return f"postgresql+psycopg://{USER}:{PASSWORD}@/{database}?{hosts}"


def configure(server: PostgreSQL, name: str, value: str) -> None:
    """Change a setting of a running server."""
    loaded = "SELECT pg_conf_load_time() AS at"
    before = server.rows(loaded)[0]["at"]
    change = sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), sql.Literal(value))
    server.rows(change.as_string())
    server.rows("SELECT pg_reload_conf()")
    wait_until(lambda: server.rows(loaded)[0]["at"] > before)


@contextmanager
def cluster(
    standbys: int = 1, synchronous: str = "", *, same_port: bool = False, **settings: Setting
) -> Iterator[Cluster]:
    """Run a primary and standbys; `synchronous` is such as "ANY 1 (s1, s2)".

    With `same_port` they listen on 127.0.0.1, 127.0.0.2 and so on (Linux), as on several machines.
    """
    found = Cluster(PostgreSQL(SETTINGS | settings), same_port=same_port)
    try:
        found.primary.start()
        for _ in range(standbys):
            found.add_standby()
        configure(found.primary, "synchronous_standby_names", synchronous)
        yield found
    finally:
        for node in reversed(found.nodes):
            node.remove()


def _conninfo(server: PostgreSQL, label: str) -> str:
    return make_conninfo(
        host=server.host, port=server.port, user=USER, password=PASSWORD, application_name=label
    )
