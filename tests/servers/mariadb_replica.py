"""A private MariaDB and a replica that follows it by GTID."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .maria import MariaDB
from .process import PASSWORD, USER, Setting, running
from .waiting import wait_until

LOGGING: dict[str, Setting] = {"log_bin": "log", "binlog_format": "ROW", "gtid_strict_mode": "ON"}


class Replica(MariaDB):
    """A MariaDB that does what another one did."""

    def follow(self, primary: MariaDB) -> None:
        """Begin with the first of the primary's changes."""
        self.rows(
            f"CHANGE MASTER TO master_host='127.0.0.1', master_port={primary.port},"
            f" master_user='{USER}', master_password='{PASSWORD}', master_use_gtid=slave_pos,"
            " master_connect_retry=1, master_ssl=0"
        )
        self.rows("START SLAVE")
        wait_until(lambda: self.rows("SHOW SLAVE STATUS")[0]["Slave_IO_Running"] == "Yes")


@contextmanager
def replicated(database: str = "service") -> Iterator[tuple[MariaDB, Replica]]:
    """Run a primary with an empty database, and its replica."""
    own: dict[str, Setting] = {"server_id": 2, "read_only": "ON", "relay_log": "relay"}
    with (
        running(MariaDB(LOGGING | {"server_id": 1})) as primary,
        running(Replica(LOGGING | own)) as replica,
    ):
        replica.follow(primary)
        primary.create_database(database)
        wait_until(lambda: database in str(replica.rows("SHOW DATABASES")))
        yield primary, replica
