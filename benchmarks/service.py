"""One candidate under gunicorn, with a proxy in front of its database where one is asked for."""

from __future__ import annotations

import http.client
import re
import signal
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from servers import Proxy
from servers.process import Server, running

from .database import Data
from .project import ROOT, Project

CONFIG = Path(__file__).with_name("apps") / "gunicorn.conf.py"
# gunicorn's settings that are the same on every side; the worker class is each side's own
SAME = ("workers", "threads", "keepalive", "backlog", "worker_connections", "worker_tmp_dir")
SWITCHES = re.compile(r"^(?:non)?voluntary_ctxt_switches:\s*(\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Candidate:
    """One way to write the user directory, and how gunicorn finds it."""

    key: str
    title: str
    factory: str = ""

    @property
    def is_baked(self) -> bool:
        """Tell whether it runs in the project's folder, with the project's own gunicorn.conf.py."""
        return not self.factory or self.factory.startswith("variants:")

    def arguments(self) -> list[str]:
        """Return gunicorn's arguments; the untouched service needs none."""
        own = [] if self.is_baked else ["--config", str(CONFIG)]
        return [*own, f"benchmarks.apps.{self.factory}"] if self.factory else []

    def environment(self) -> dict[str, str]:
        """Return what its application needs besides the settings."""
        return {"PYTHONPATH": str(ROOT)} if self.factory else {}


UNTOUCHED = Candidate("untouched", "baked service, untouched")
BAKED = Candidate("baked", "baked service", "variants:baked()")
PRE_PING = Candidate("pre_ping", "Flask-SQLAlchemy, pre-ping", "plain:pre_ping()")
DEFAULTS = Candidate("defaults", "Flask-SQLAlchemy, defaults", "plain:defaults()")
UNPOOLED = Candidate("unpooled", "Flask-SQLAlchemy, unpooled", "plain:unpooled()")
BY_HAND = Candidate("by_hand", "psycopg_pool by hand", "by_hand:documented()")
AUTOCOMMIT = Candidate("autocommit", "psycopg_pool, autocommit", "by_hand:autocommit()")
CANDIDATES = (UNTOUCHED, BAKED, PRE_PING, DEFAULTS, UNPOOLED, BY_HAND, AUTOCOMMIT)
TITLES = {candidate.key: candidate.title for candidate in CANDIDATES}


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
        """Return the command line that runs the server in the foreground."""
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
        """Return the worker processes."""
        assert self.process is not None
        return psutil.Process(self.process.pid).children()

    def cpu_seconds(self) -> float:
        """Return the time that the workers have computed so far."""
        return sum(sum(worker.cpu_times()[:2]) for worker in self.workers())

    def switches(self) -> int:
        """Return how often the workers' threads have left or lost a core so far."""
        tasks = [Path(f"/proc/{worker.pid}/task") for worker in self.workers()]
        found = 0
        for file in (file for task in tasks for file in task.glob("*/status")):
            with suppress(OSError):  # the thread has just ended
                found += sum(map(int, SWITCHES.findall(file.read_text())))
        return found

    def memory(self) -> float:
        """Return the resident memory of one worker, in MiB."""
        sizes = [float(worker.memory_info().rss) for worker in self.workers()]
        return sum(sizes) / len(sizes) / 2**20

    def request(self, method: str, path: str) -> tuple[int, str]:
        """Send one request on a connection of its own."""
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            client.request(method, path, headers={"Connection": "close"})
            answer = client.getresponse()
            return answer.status, answer.read().decode().strip()
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
    expected = (200, ",".join(f"User {number}" for number in range(1, 11)))
    for path in ("/users", *(["/same"] if service.candidate.factory else [])) * 10:
        if (answer := service.request("GET", path)) != expected:
            raise RuntimeError(f"{service.candidate.title}: GET {path}: {answer}")


def check_gunicorn(project: Project) -> None:
    """Refuse to compare candidates whose gunicorn differs in more than its worker class."""
    numbers = {"PORT": 1, "WEB_CONCURRENCY": 1, "WEB_THREADS": project.threads}
    found = []
    for candidate in (UNTOUCHED, BAKED, PRE_PING):
        own = candidate.environment()
        settings = project.gunicorn(*candidate.arguments(), **numbers, **own)
        found.append([settings[name] for name in SAME])
    if any(one != found[0] for one in found):
        raise RuntimeError(f"gunicorn's {', '.join(SAME)} differ: {found}")
