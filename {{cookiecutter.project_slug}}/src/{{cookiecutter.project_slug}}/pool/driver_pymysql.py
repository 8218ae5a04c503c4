"""What PyMySQL's connection lacks: bounds on handshake and ping, and thrift."""

from __future__ import annotations

import ssl
from threading import Lock
from typing import Any

import pymysql
from pymysql.constants.SERVER_STATUS import SERVER_STATUS_IN_TRANS

# the context of connections without TLS options of their own
_shared: list[ssl.SSLContext] = []
_lock = Lock()


class Connection(pymysql.Connection):  # type: ignore[misc]
    """A PyMySQL connection that waits no longer than it must and sends no more than it must."""

    @property
    def deadline(self) -> float | None:
        """Seconds that the server has to send something."""
        seconds: float | None = self._read_timeout
        return seconds

    @deadline.setter
    def deadline(self, seconds: float | None) -> None:
        self._read_timeout = seconds

    def connect(self, sock: Any = None) -> None:
        """Connect, with connect_timeout as the bound of the handshake too."""
        kept, self.deadline = self.deadline, self.connect_timeout
        try:
            super().connect(sock)
        finally:
            self.deadline = kept

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open on the server."""
        return bool(self.server_status & SERVER_STATUS_IN_TRANS)

    def rollback(self) -> None:
        """Roll back if a transaction is open, else send nothing: each read ends here."""
        if self.in_transaction:
            super().rollback()

    def _create_ssl_ctx(self, options: Any) -> ssl.SSLContext:
        # it loads all certificates of the machine, 20 ms of CPU for each new connection
        if options:
            own: ssl.SSLContext = super()._create_ssl_ctx(options)
            return own
        with _lock:
            if not _shared:
                _shared.append(super()._create_ssl_ctx(options))
            return _shared[0]
