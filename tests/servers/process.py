"""One private server process: start, stop, pause, resume, and its log."""

import contextlib
import secrets
import shutil
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import psutil

from .guard import kill_tree
from .waiting import wait_until
from .workshop import environment, free_port, make_folder

USER = "flask_pool"
# no server leaves this process's reach, so all of them can share one password
PASSWORD = secrets.token_urlsafe(16)

Setting = str | int | float


class Server(ABC):
    """A server process in a folder and on a port of its own."""

    name: ClassVar[str]
    quit_signal: ClassVar[signal.Signals]

    def __init__(self, owner: dict[str, Any], settings: dict[str, Setting]) -> None:
        self.owner = owner
        self.settings = settings
        self.port = free_port()
        self.folder = make_folder(self.name, owner)
        self.process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """Give the command line that runs the server in the foreground."""

    @abstractmethod
    def ask(self) -> object:
        """Ask the server anything; raise while it does not answer."""

    def place(self) -> tuple[Path, dict[str, str]]:
        """Give the folder that the server works in, and its variables."""
        return self.folder, environment(self.folder)

    def start(self) -> None:
        """Start the server on its port, with its data, and wait until it answers."""
        folder, variables = self.place()
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                env=variables,
                start_new_session=True,
                **self.owner,
            )
        (self.folder / "pid").write_text(str(self.process.pid))
        self._wait_until_it_answers(self.process)

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + 120
        while True:
            try:
                self.ask()
            except Exception as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    message = f"{self.name} did not start:\n{self.log()[-4000:]}"
                    raise RuntimeError(message) from error
                time.sleep(0.02)
            else:
                return

    def stop(self, *, crash: bool = False) -> None:
        """Stop the server as an administrator would, or crash it; its data and port stay."""
        process, self.process = self.process, None
        if process is None:
            return
        if crash:
            kill_tree(process.pid)
        else:
            self._signal(process.pid, signal.SIGCONT)
            process.send_signal(self.quit_signal)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            kill_tree(process.pid)
            process.wait(timeout=20)
        (self.folder / "pid").unlink(missing_ok=True)

    def restart(self, *, crash: bool = False) -> None:
        """Stop the server and start it again on the same port."""
        self.stop(crash=crash)
        self.start()

    def pause(self) -> None:
        """Freeze the server: its machine still acknowledges TCP, but nothing answers."""
        if self.process is not None:
            stopping = self._signal(self.process.pid, signal.SIGSTOP)
            # on a busy machine its threads answer for a while longer
            wait_until(lambda: not any(map(_runs, stopping)), 20)

    def resume(self) -> None:
        """Let a paused server go on."""
        if self.process is not None:
            self._signal(self.process.pid, signal.SIGCONT)

    @contextmanager
    def paused(self) -> Iterator[Self]:
        """Freeze the server for the length of a block."""
        self.pause()
        try:
            yield self
        finally:
            self.resume()

    def log(self) -> str:
        """Give all that the server has logged so far."""
        return (self.folder / "log").read_text(errors="replace")

    def remove(self) -> None:
        """Stop the server and delete all that it had."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @staticmethod
    def _signal(pid: int, number: signal.Signals) -> list[psutil.Process]:
        # the parent first: once it is frozen it starts no further child
        signalled = []
        with contextlib.suppress(psutil.NoSuchProcess):
            parent = psutil.Process(pid)
            parent.send_signal(number)
            signalled.append(parent)
            for child in parent.children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.send_signal(number)
                    signalled.append(child)
        return signalled


def _runs(process: psutil.Process) -> bool:
    ended = (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() not in ended
    return False


S = TypeVar("S", bound=Server)


@contextmanager
def running(server: S) -> Iterator[S]:
    """Run a server for the length of a block."""
    try:
        server.start()
        yield server
    finally:
        server.remove()
