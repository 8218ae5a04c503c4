"""Private database servers for tests, fault runs and benchmarks.

Each is a context manager. It listens on a free loopback port, holds its data in a temporary
folder, and is stopped and removed at the end, even if the process that started it is killed.
"""

from .bouncer import PgBouncer, pgbouncer
from .connection import can_silence
from .galera import GaleraNode, galera
from .haproxy import HAProxy, haproxy
from .maria import MariaDB, mariadb
from .patroni import PatroniCluster, PatroniNode, patroni
from .postgres import PostgreSQL, postgresql
from .programs import HOW_TO_INCLUDE, REQUIRE_ALL, find_program, missing_programs
from .proxy import Proxy
from .standby import Cluster, Standby, cluster
from .waiting import paced, wait_until

__all__ = [
    "HOW_TO_INCLUDE",
    "REQUIRE_ALL",
    "Cluster",
    "GaleraNode",
    "HAProxy",
    "MariaDB",
    "PatroniCluster",
    "PatroniNode",
    "PgBouncer",
    "PostgreSQL",
    "Proxy",
    "Standby",
    "can_silence",
    "cluster",
    "find_program",
    "galera",
    "haproxy",
    "mariadb",
    "missing_programs",
    "paced",
    "patroni",
    "pgbouncer",
    "postgresql",
    "wait_until",
]
