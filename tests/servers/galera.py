"""A Galera cluster: MariaDB servers that agree on each commit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from .maria import MariaDB
from .process import Setting
from .programs import GALERA
from .waiting import wait_until
from .workshop import free_port, run_tool

# shorter ones lose the quorum on a busy machine
TIMES = {
    "keepalive_period": 0.5,
    "suspect_timeout": 2,
    "inactive_timeout": 10,
    "install_timeout": 5,
}
SETTINGS: dict[str, Setting] = {
    "binlog_format": "ROW",
    "innodb_autoinc_lock_mode": 2,
    "innodb_flush_log_at_trx_commit": 2,  # a killed process loses nothing
    "wsrep_on": "ON",
    "wsrep_cluster_name": "tests",
    "wsrep_sst_method": "rsync",
}


class GaleraNode(MariaDB):
    """A MariaDB that is one of a cluster."""

    name = "galera"

    def __init__(self) -> None:
        self.group, self.changes, self.state = free_port(), free_port(), free_port()
        self.peers: list[GaleraNode] = []  # none: this one begins a new cluster
        super().__init__(SETTINGS)

    def command(self) -> list[str]:
        """Give the command line that runs the server in the foreground."""
        peers = ",".join(f"127.0.0.1:{node.group}" for node in self.peers)
        provider = {f"evs.{name}": f"PT{seconds}S" for name, seconds in TIMES.items()} | {
            "gmcast.listen_addr": f"tcp://127.0.0.1:{self.group}",
            "ist.recv_addr": f"127.0.0.1:{self.changes}",
            "gcache.size": "16M",
        }
        own = {
            "wsrep_provider": GALERA,
            "wsrep_cluster_address": f"gcomm://{peers}",
            "wsrep_node_address": f"127.0.0.1:{self.group}",
            "wsrep_sst_receive_address": f"127.0.0.1:{self.state}",
            "wsrep_provider_options": ";".join(f"{key}={value}" for key, value in provider.items()),
        }
        options = [f"--{name}={value}" for name, value in own.items()]
        return [*super().command(), *options, *([] if peers else ["--wsrep-new-cluster"])]

    def copy(self, other: GaleraNode) -> None:
        """Take the data of a node that was stopped, which saves sending all of it."""
        data = self.folder / "data"
        run_tool(["rm", "-rf", str(data)], self.owner, self.folder)
        run_tool(["cp", "-Rp", str(other.folder / "data"), str(data)], self.owner, self.folder)
        run_tool(["rm", "-f", "data/galera.cache", "data/gvwstate.dat"], self.owner, self.folder)

    def is_ready(self) -> bool:
        """Tell whether it takes queries, as one of a majority."""
        shown = self.rows("SHOW STATUS LIKE 'wsrep_ready'")
        return bool(shown) and shown[0]["Value"] == "ON"


@contextmanager
def galera(size: int = 3) -> Iterator[list[GaleraNode]]:
    """Run a Galera cluster."""
    nodes = [GaleraNode() for _ in range(size)]
    with ExitStack() as stack:
        for node in nodes:
            stack.callback(node.remove)
            stack.callback(node.stop, crash=True)
        first = nodes[0]
        first.start()
        wait_until(first.is_ready)
        first.stop()
        for node in nodes[1:]:
            node.copy(first)
        for node in nodes:
            node.start()
            wait_until(node.is_ready, 60)
            for each in nodes:
                each.peers = nodes  # whoever starts from now on joins
        yield nodes
