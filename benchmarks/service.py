"""One candidate under gunicorn, with a proxy in front of its database where one is asked for."""

from __future__ import annotations

import http.client
import re
import signal
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
from servers import Proxy
from servers.process import Server, running

from .candidates import Candidate
from .database import Data
from .project import Project

# what is different for each service, or its own part of what it does
OWN = {"bind", "config", "default_proc_name", "print_config", "wsgi_app"}
SWITCHES = re.compile(r"^(?:non)?voluntary_ctxt_switches:\s*(\d+)", re.MULTILINE)


class Service(Server):
    """A gunicorn with its workers, on a port of its own."""

    name = "service"
    quit_signal = signal.SIGTERM

    def __init__(
        self,
        candidate: Candidate,
        project: Project,
        data: Data,
        proxy: Proxy | None = None,
        **settings: int,
    ) -> None:
        super().__init__({}, {"WEB_CONCURRENCY": 1, "WEB_THREADS": project.threads, **settings})
        self.candidate = candidate
        self.project = project
        self.data = data
        self.proxy = proxy
        url = data.url(proxy.port if proxy else None)
        own = {"HOST": "127.0.0.1", "PORT": self.port, **candidate.environment()}
        self.environment = project.environment(url, **own, **self.settings)

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

    def switches(self) -> int:
        """Give how often the workers' threads have left or lost a core so far."""
        tasks = [Path(f"/proc/{worker.pid}/task") for worker in self.workers()]
        files = [file for task in tasks for file in task.glob("*/status")]
        return sum(int(number) for file in files for number in SWITCHES.findall(file.read_text()))

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
    **settings: int,
) -> Iterator[list[Service]]:
    """Run candidates on one database, each with a proxy of its own if it is counted."""
    with ExitStack() as stack:
        services = []
        for candidate in candidates:
            proxy = stack.enter_context(Proxy(data.server.port)) if counted else None
            service = Service(candidate, project, data, proxy, **settings)
            services.append(stack.enter_context(running(service)))
        for service in services:
            check(service)
        yield services


def check(service: Service) -> None:
    """Wait for a candidate, and refuse to measure one that answers anything but what all do."""
    service.wait()
    names = ",".join(f"User {number}" for number in range(1, 11))
    expected = {"/users": names, "/users/1": '{"id":1,"name":"User 1"}'}
    if service.candidate.has_view:
        expected["/same"] = names
    for _ in range(10):  # a few times, as drivers prepare what they see often
        for path, text in expected.items():
            answer = service.request("GET", path)
            if (answer[0], answer[1].strip()) != (200, text):
                raise RuntimeError(f"{service.candidate.title}: GET {path}: {answer}")


def same_gunicorn(project: Project, candidates: Iterable[Candidate]) -> dict[str, str]:
    """Give gunicorn's settings; refuse to compare candidates of which one differs in any."""
    found: dict[str, dict[str, str]] = {}
    for candidate in candidates:
        settings = {"PORT": 1, "WEB_CONCURRENCY": 1, "WEB_THREADS": project.threads}
        found[candidate.title] = project.gunicorn(
            *candidate.arguments(), **settings, **candidate.environment()
        )
    first, *others = found
    for other in others:
        names = found[first].keys() & found[other].keys() - OWN
        # functions are what a service does as its workers start and end
        differ = [
            name
            for name in sorted(names)
            if found[first][name] != found[other][name] and "()>" not in found[first][name]
        ]
        if differ:
            raise RuntimeError(f"gunicorn's settings of {first} and {other} differ: {differ}")
    return found[first]
