"""What a fleet has on each step of docs/scale.md, and how many instances that carries."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from .queues import mean_wait

# an instance, as a project is baked
WORKERS, POOL_SIZE = 2, 5
RATE = 10.0  # requests a second of an instance at noon
WRITES = 0.1  # of the requests
READ, WRITE = 0.001, 0.002  # seconds of a core that each takes of its server
# a server
CORES = 48
RESERVED = 3  # superuser_reserved_connections
BUSY = 0.7  # of its cores, when the number of servers is chosen
# a PgBouncer process
TRANSACTIONS = 33_000  # a second
CLIENTS = 10_000  # max_client_conn
BACKENDS = 200  # server connections, of all processes in front of a server
# a node
INSTANCES_A_NODE, NODE_CONNECTIONS = 20, 10


@dataclass(frozen=True)
class Step:
    """What a fleet has by then; each step keeps what the ones before it brought."""

    name: str
    max_connections: int = 1000  # of PostgreSQL
    poolers: int = 0  # PgBouncer processes in front of each server
    replicas: int = 0  # of a primary, at most
    node_poolers: bool = False
    shards: int = 1  # at most
    login_retry: float = 1.0  # PgBouncer's server_login_retry
    writes: float = WRITES


LADDER = (
    Step("PostgreSQL as installed", max_connections=100),
    Step("max_connections = 1000"),
    Step("max_connections = 5000", max_connections=5000),
    Step("one PgBouncer", poolers=1),
    Step("8 PgBouncers, so_reuseport", poolers=8),
    Step("replicas, up to 50", poolers=8, replicas=50),
    Step("a pooler per node", poolers=8, replicas=50, node_poolers=True),
    Step("shards", poolers=64, replicas=50, node_poolers=True, shards=10_000),
)
READ_MOSTLY = (  # 0.3 % writes: more replicas are needed before the primary's cores are
    Step("replicas, up to 50", poolers=64, replicas=50, node_poolers=True, writes=0.003),
    Step("cascading, up to 50 x 50", poolers=64, replicas=2500, node_poolers=True, writes=0.003),
)

PATIENCE = 30.0  # seconds that a request waits, whatever for


class Fleet:
    """So many instances on one step of the ladder."""

    def __init__(self, step: Step, instances: int) -> None:
        self.step, self.instances = step, instances
        self.noon = instances * RATE
        write_cores = self.noon * step.writes * WRITE
        self.shards = min(step.shards, max(1, ceil(write_cores / (CORES * BUSY))))
        read_cores = self.noon * (1 - step.writes) * READ / self.shards
        # as many as noon needs; none: the primary reads too
        self.replicas = min(step.replicas, max(1, ceil(read_cores / (CORES * BUSY))))
        self.entries = instances * WORKERS * POOL_SIZE  # that pools keep open
        self.clients = self.entries  # of the servers, or of the poolers before each of them
        if step.node_poolers:
            self.clients = ceil(instances / INSTANCES_A_NODE) * NODE_CONNECTIONS
        self.granted = step.poolers * CLIENTS or step.max_connections - RESERVED
        self.connected = min(1.0, self.granted / self.clients)
        reads = 0 if self.replicas else 1 - step.writes
        self.primary_share = step.writes + reads  # of the requests
        self.service = (step.writes * WRITE + reads * READ) / self.primary_share

    @property
    def limits(self) -> dict[str, float]:
        """Return how many instances each part of the fleet carries at noon."""
        each = 1 / self.instances
        primary = self.primary_share * self.noon * each / self.shards
        found = {
            "connections": self.granted / (self.clients * each),
            "primary": CORES / (primary * self.service),
        }
        if self.step.poolers:
            found["poolers"] = self.step.poolers * TRANSACTIONS / primary
        if self.replicas:
            read = (1 - self.step.writes) * self.noon * each / self.shards / self.replicas
            found["replicas"] = CORES / READ / read
        return found

    @property
    def breaks_by(self) -> str:
        """Return what carries the fewest instances."""
        return min(self.limits, key=self.limits.__getitem__)

    @property
    def carries(self) -> bool:
        """Tell whether nothing of it is asked for more than it has."""
        return min(self.limits.values()) > self.instances * (1 - 1e-9)

    def mean_wait(self) -> float:
        """Return a request's mean wait for a core at noon: Erlang C of each server's line."""
        noon = self.noon * self.connected
        primary = noon * self.primary_share / self.shards
        wait = self.primary_share * mean_wait(CORES, primary, self.service)
        if self.replicas:
            reads = noon * (1 - self.step.writes)
            each = reads / self.shards / self.replicas
            wait += (1 - self.step.writes) * mean_wait(CORES, each, READ)
        return min(wait, PATIENCE)


def most_instances(step: Step) -> int:
    """Return how many instances a step carries."""
    low, high = 1, 10_000_000
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if Fleet(step, middle).carries else (low, middle - 1)
    return low
