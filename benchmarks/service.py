"""One candidate under gunicorn, with a proxy in front of its database where one is asked for."""

from __future__ import annotations

import http.client
import signal
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import psutil
from servers import Proxy
from servers.process import Server, running

from .candidates import Candidate
from .database import Data
from .project import Project

SETTINGS: dict[str, str | int | float] = {"WEB_CONCURRENCY": 1, "WEB_THREADS": 8}


class Service(Server):
    """A gunicorn with its workers, on a port of its own."""

    name = "service"
    quit_signal = signal.SIGTERM

    def __init__(
        self,
        candidate: Candidate,
        project: Project,
        url: str,
        proxy: Proxy | None = None,
        **settings: str | int | float,
    ) -> None:
        super().__init__({}, {**SETTINGS, **candidate.settings, **settings})
        self.candidate = candidate
        self.project = project
        self.proxy = proxy
        self.environment = project.environment(
            url, HOST="127.0.0.1", PORT=self.port, **self.settings
        )

    def command(self) -> list[str]:
        """Give the command line that runs the server in the foreground."""
        return [self.project.program("gunicorn"), *self.candidate.arguments()]

    def ask(self) -> object:
        """Ask for the users; raise while there is no answer."""
        status, text = self.request("GET", "/users")
        if status != 200:
            raise ConnectionError(text)
        return text

    def start(self) -> None:
        """Start gunicorn in its folder; `wait` says when it serves, so that many start at once."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.project.path if self.candidate.is_baked else self.folder,
                env=self.environment,
                start_new_session=True,
            )
        (self.folder / "pid").write_text(str(self.process.pid))

    def wait(self) -> None:
        """Wait until it answers."""
        assert self.process is not None
        self._wait_until_it_answers(self.process)

    def workers(self) -> list[psutil.Process]:
        """Give the worker processes."""
        assert self.process is not None
        return psutil.Process(self.process.pid).children()

    def cpu_seconds(self) -> float:
        """Give the time that the workers have computed so far."""
        return sum(sum(worker.cpu_times()[:2]) for worker in self.workers())

    def memory(self) -> float:
        """Give the resident memory of one worker, in MiB."""
        sizes = [float(worker.memory_info().rss) for worker in self.workers()]
        return sum(sizes) / len(sizes) / 2**20

    def request(self, method: str, path: str, body: str | None = None) -> tuple[int, str]:
        """Send one request on a connection of its own."""
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {"Connection": "close"} | ({"Content-Type": "application/json"} if body else {})
        try:
            client.request(method, path, body, headers)
            answer = client.getresponse()
            return answer.status, answer.read().decode()
        finally:
            client.close()


@contextmanager
def serving(
    candidates: Iterable[Candidate],
    project: Project,
    data: Data,
    *,
    counted: bool = False,
    **settings: str | int | float,
) -> Iterator[list[Service]]:
    """Run candidates on one database, each with a proxy of its own if it is counted."""
    with ExitStack() as stack:
        services = []
        for candidate in candidates:
            proxy = stack.enter_context(Proxy(data.server.port)) if counted else None
            url = data.url(proxy.port if proxy else None)
            service = Service(candidate, project, url, proxy, **settings)
            services.append(stack.enter_context(running(service)))
        for service in services:
            check(service)
        yield services


def check_same(services: Sequence[Service], path: str) -> None:
    """Refuse to compare services that answer a path differently."""
    answers = {service.request("GET", path) for service in services}
    if len(answers) != 1:
        raise RuntimeError(f"GET {path}: the answers differ")


def check(service: Service) -> None:
    """Wait for a candidate, and refuse to measure one that answers anything but what all do."""
    service.wait()
    expected = ",".join(f"User {number}" for number in range(1, 11))
    for _ in range(10):  # a few times, as drivers prepare what they see often
        status, text = service.request("GET", "/users")
        if (status, text) != (200, expected):
            raise RuntimeError(f"{service.candidate.title}: GET /users: {status} {text[:200]}")
        if service.candidate.has_writes:
            status, text = service.request("GET", "/users/1")
            if status != 200 or '"User 1"' not in text:
                raise RuntimeError(f"{service.candidate.title}: GET /users/1: {status} {text}")
