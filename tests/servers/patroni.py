"""PostgreSQL servers under Patroni, which keeps who is the primary in an etcd."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import psycopg

from .guard import processes_in
from .postgres import DEFAULTS, PostgreSQL, programs
from .process import PASSWORD, USER, Server, Setting, running
from .programs import find_program
from .waiting import wait_until
from .workshop import account, free_port

# Patroni's shortest: a primary that says nothing for so long is not one any more
TIMES = {"ttl": 20, "loop_wait": 2, "retry_timeout": 3}
POSTGRESQL: dict[str, Setting] = {
    **DEFAULTS,
    "synchronous_commit": "on",
    "wal_receiver_timeout": "5s",
    "wal_retrieve_retry_interval": "200ms",
    "unix_socket_directories": "",
}


class Etcd(Server):
    """An etcd of one node."""

    name = "etcd"
    quit_signal = signal.SIGTERM

    def __init__(self) -> None:
        super().__init__(account("etcd"), {})
        self.peer_port = free_port()

    def command(self) -> list[str]:
        """Give the command line that runs the server in the foreground."""
        here, peers = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{self.peer_port}"
        options = {
            "data-dir": self.folder / "data",
            "listen-client-urls": here,
            "advertise-client-urls": here,
            "listen-peer-urls": peers,
            "initial-advertise-peer-urls": peers,
            "initial-cluster": f"default={peers}",
        }
        given = [f"--{name}={value}" for name, value in options.items()]
        return [str(find_program("etcd")), "--unsafe-no-fsync", *given]

    def ask(self) -> int:
        """Ask whether it is healthy; raise while it is not."""
        return healthy(self.port, "/health")


class PatroniNode(PostgreSQL):
    """A Patroni and the PostgreSQL that it starts and looks after."""

    name = "patroni"
    quit_signal = signal.SIGTERM

    def __init__(self, label: str, etcd: Etcd) -> None:
        self.label = label
        self.check_port = free_port()
        self.etcd = etcd
        super().__init__({})

    def fill(self) -> None:
        """Write Patroni's configuration; the data is for Patroni to make."""
        password = self.folder / "passwords"
        who = {"username": USER, "password": PASSWORD}
        start = {
            "dcs": {
                **TIMES,
                "synchronous_mode": True,
                "postgresql": {
                    "parameters": POSTGRESQL,
                    "remove_data_directory_on_diverged_timelines": True,
                },
            },
            "initdb": [{"encoding": "UTF8"}, {"locale": "C"}, "no-sync"],
        }
        configuration = {
            "scope": "tests",
            "name": self.label,
            "etcd3": {"host": f"127.0.0.1:{self.etcd.port}"},
            "restapi": {
                "listen": f"127.0.0.1:{self.check_port}",
                "connect_address": f"127.0.0.1:{self.check_port}",
            },
            "bootstrap": start,
            "postgresql": {
                "listen": f"127.0.0.1:{self.port}",
                "connect_address": f"127.0.0.1:{self.port}",
                "data_dir": str(self.data),
                "bin_dir": str(programs()),
                "pgpass": str(password),
                "authentication": {"superuser": who, "replication": who},
                "basebackup": ["no-sync", {"checkpoint": "fast"}],
                "remove_data_directory_on_diverged_timelines": True,
                "pg_hba": [
                    "host all all 127.0.0.1/32 scram-sha-256",
                    "host replication all 127.0.0.1/32 scram-sha-256",
                ],
            },
            "watchdog": {"mode": "off"},
        }
        (self.folder / "patroni.yml").write_text(json.dumps(configuration))

    @property
    def data(self) -> Path:
        """The folder of PostgreSQL's data."""
        return self.folder / "data"

    def command(self) -> list[str]:
        """Give the command line that runs Patroni in the foreground."""
        return [str(find_program("patroni")), str(self.folder / "patroni.yml")]

    def is_primary(self) -> bool:
        """Tell whether Patroni says that this is the primary."""
        with contextlib.suppress(OSError, ConnectionError, http.client.HTTPException):
            return healthy(self.check_port, "/primary") == 200
        return False

    def is_synchronous(self) -> bool:
        """Tell whether Patroni says that this is a synchronous standby."""
        with contextlib.suppress(OSError, ConnectionError, http.client.HTTPException):
            return healthy(self.check_port, "/synchronous") == 200
        return False

    def stop(self, *, crash: bool = False) -> None:
        """Stop Patroni, and PostgreSQL, which is not its child, with it."""
        self.resume()
        if crash:
            self._signal_all(signal.SIGKILL)
        super().stop(crash=crash)
        self._signal_all(signal.SIGKILL)

    def crash_postgresql(self) -> None:
        """Kill PostgreSQL alone, under its Patroni."""
        self._signal_all(signal.SIGKILL, self.data)

    def pause(self) -> None:
        """Freeze Patroni and PostgreSQL."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """Let both go on."""
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals, folder: Path | None = None) -> None:
        for process in processes_in(folder or self.folder):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)


class PatroniCluster:
    """The nodes that share one etcd."""

    def __init__(self, nodes: list[PatroniNode]) -> None:
        self.nodes = nodes

    def primary(self) -> PatroniNode:
        """Give the node that is the primary, once there is one."""
        wait_until(lambda: any(node.is_primary() for node in self.nodes), 60, pause=0.1)
        return next(node for node in self.nodes if node.is_primary())

    def is_primary_behind(self, port: int, database: str) -> bool:
        """Tell whether whoever connects to this port can write."""
        with (
            contextlib.suppress(psycopg.Error),
            psycopg.connect(self.nodes[0].dsn(database, port), connect_timeout=2) as connection,
        ):
            return connection.execute("SELECT pg_is_in_recovery()").fetchone() == (False,)
        return False

    def wait_for_standby(self) -> None:
        """Wait until a standby has all that is acknowledged."""
        wait_until(lambda: any(node.is_synchronous() for node in self.nodes), 60, pause=0.1)


@contextmanager
def patroni(size: int = 2) -> Iterator[PatroniCluster]:
    """Run PostgreSQL servers under Patroni, with synchronous replication."""
    with ExitStack() as stack:
        etcd = stack.enter_context(running(Etcd()))
        nodes = [PatroniNode(f"n{number + 1}", etcd) for number in range(size)]
        cluster = PatroniCluster(nodes)
        for node in nodes:
            stack.enter_context(running(node))
            stack.callback(node.stop, crash=True)  # a proper end takes Patroni seconds
            cluster.primary()
        if size > 1:
            cluster.wait_for_standby()
        yield cluster


def healthy(port: int, path: str) -> int:
    """Give the status of an HTTP answer; raise if it is not 200."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    with contextlib.closing(client):
        client.request("GET", path)
        status = client.getresponse().status
    if status != 200:
        raise ConnectionError(f"{path}: {status}")
    return status
