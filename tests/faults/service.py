"""The project's service, as it runs in production: plain `gunicorn` in its folder."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from servers.process import Server

from .project import OPS_TOKEN, Project, Setting

INSIDE = Path(__file__).with_name("inside")
# serves the project's application with the views of inside/views.py
WITH_VIEWS = ("--pythonpath", str(INSIDE), "views:create_app()")

SMALL: dict[str, Setting] = {
    "WEB_CONCURRENCY": 2,
    "WEB_THREADS": 4,
    "SQLALCHEMY_POOL_SIZE": 4,
    "SQLALCHEMY_MAX_OVERFLOW": 0,
    "SQLALCHEMY_POOL_TIMEOUT": 10,
    "SQLALCHEMY_CONNECT_TIMEOUT": 2,
    "SQLALCHEMY_STATEMENT_TIMEOUT": 3,
}


@dataclass(frozen=True)
class Answer:
    """What a client got: an HTTP answer, or status 0 and the error that it met instead."""

    status: int
    text: str
    seconds: float
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def data(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.text)

    @property
    def is_clean_refusal(self) -> bool:
        """Tell whether this is the one answer that the service gives for its database.

        After a refusal by the queue clients are to return apart from each other.
        """
        seconds = int(self.headers.get("Retry-After", "0"))
        return (
            self.status == 503
            and self.headers.get("Content-Type") == "application/problem+json"
            and self.data["status"] == 503
            and (seconds == 1 or (self.data["reason"] == "overloaded" and 1 < seconds <= 10))
        )

    @property
    def is_in_doubt(self) -> bool:
        """Tell whether the connection died after COMMIT was sent, so that nobody can know."""
        return (
            self.status == 503
            and "Retry-After" not in self.headers
            and self.data["reason"] == "in_doubt"
        )

    @property
    def is_honest(self) -> bool:
        """Tell whether a write was refused, or nobody can know whether it was done."""
        return self.is_clean_refusal or self.is_in_doubt


class Service(Server):
    """A gunicorn with its workers, on a port of its own."""

    name = "service"
    quit_signal = signal.SIGTERM

    def __init__(self, project: Project, url: str, *arguments: str, **settings: Setting) -> None:
        super().__init__({}, SMALL | settings)
        self.project = project
        self.arguments = arguments
        own: dict[str, Setting] = {"HOST": "127.0.0.1", "PORT": self.port}
        self.environment = project.environment(url, **self.settings | own)

    def command(self) -> list[str]:
        """Give the command line that runs the server in the foreground."""
        return [self.project.program("gunicorn"), *self.arguments]

    def ask(self) -> object:
        """Ask the server anything; raise while it does not answer."""
        answer = self.get("/healthz/live")
        if answer.status != 200:
            raise ConnectionError(answer.text)
        return answer

    def place(self) -> tuple[Path, dict[str, str]]:
        """Give the project's folder, and the variables of its settings."""
        return self.project.path, self.environment

    def workers(self) -> list[psutil.Process]:
        """Give the worker processes."""
        assert self.process is not None
        return psutil.Process(self.process.pid).children()

    def request(
        self, method: str, path: str, body: Any = None, patience: float = 60, **headers: str
    ) -> Answer:
        """Send one request on a connection of its own, so that whatever fails is the service."""
        started = time.monotonic()
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=patience)
        sent = {"Connection": "close", **headers}
        if body is not None:
            body, sent["Content-Type"] = json.dumps(body), "application/json"
        with contextlib.closing(client):
            try:
                client.request(method, path, body, sent)
                got = client.getresponse()
                text = got.read().decode()
            except (OSError, http.client.HTTPException) as error:
                return Answer(0, repr(error), time.monotonic() - started)
            return Answer(got.status, text, time.monotonic() - started, dict(got.getheaders()))

    def get(self, path: str = "/users") -> Answer:
        """Read."""
        return self.request("GET", path)

    def post(self, name: str) -> Answer:
        """Add a user."""
        return self.request("POST", "/users", {"name": name})

    def metric(self, name: str, **labels: str) -> float:
        """Give the sum of the samples of a metric that carry these labels, over all workers."""
        page = self.request("GET", "/metrics", Authorization=f"Bearer {OPS_TOKEN}")
        assert page.status == 200, page
        samples = re.findall(rf"^{name}(?:\{{(.*)\}})? (\S+)$", page.text, re.MULTILINE)
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        return sum(float(value) for found, value in samples if all(w in found for w in wanted))
