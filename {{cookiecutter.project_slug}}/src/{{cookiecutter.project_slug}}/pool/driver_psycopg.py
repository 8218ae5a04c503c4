"""What psycopg's connection lacks: a deadline for a server that is silent on an open line."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.abc import RV, PQGen
from psycopg.pq import TransactionStatus


class Connection(psycopg.Connection[Any]):
    """A psycopg connection on which no wait outlasts `deadline` seconds."""

    deadline: float | None = None

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """Wait for the server; OperationalError and a closed connection when it is late."""
        try:
            return super().wait(gen, interval, self.deadline if timeout is None else timeout)
        except psycopg.OperationalError:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.close()  # the answer may still come, for nobody
            raise

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open on the server."""
        return self.pgconn.transaction_status != TransactionStatus.IDLE

    def rollback(self) -> None:
        """Roll back if a transaction is open, else do nothing: each read ends here."""
        if self.in_transaction:
            super().rollback()
