"""What PyMySQL's connection lacks: it sends a ROLLBACK when there is nothing to roll back."""

from __future__ import annotations

import pymysql
from pymysql.constants.SERVER_STATUS import SERVER_STATUS_IN_TRANS


class Connection(pymysql.Connection):  # type: ignore[misc]
    """A PyMySQL connection that saves the round trip of a needless ROLLBACK."""

    def rollback(self) -> None:
        """Roll back if the server says that a transaction is open."""
        if self.server_status & SERVER_STATUS_IN_TRANS:
            super().rollback()
