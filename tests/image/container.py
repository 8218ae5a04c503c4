"""A container by hand: the image's command, user and environment on a root that is read only."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Mapping
from pathlib import Path

import psutil
from faults.service import Service
from servers.process import Server
from servers.workshop import make_folder

from .builder import PRIVATE, Image

# what an engine does before it starts process 1; all of it ends with that process
ENTER = """
set -e
root=$1 volume=$2 user=$3
shift 3
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/tmp"
mount --bind "$volume" "$root/app/instance"
exec chroot --userspec="$user" "$root" env --ignore-environment "$@"
"""


class Container(Service):
    """The image's service on a port of its own, with a volume where it keeps its files."""

    def __init__(self, image: Image, settings: Mapping[str, str]) -> None:
        Server.__init__(self, {}, {})
        self.image = image
        own = {"HOST": "127.0.0.1", "PORT": str(self.port)}
        said = dict(line.split("=", 1) for line in image.config["Env"])
        self.environment = {**said, **own, **settings}
        self.volume = make_folder("volume", {"user": 10001, "group": 10001})

    def command(self, *command: str) -> list[str]:
        """Give the command line that runs the image's command, or another, as process 1."""
        config = self.image.config
        enter = ["sh", "-c", ENTER, "enter", str(self.image.root), str(self.volume), config["User"]]
        variables = [f"{name}={value}" for name, value in self.environment.items()]
        folder = f"--chdir={config['WorkingDir']}"
        return [*PRIVATE, *enter, folder, *variables, *(command or config["Cmd"])]

    def place(self) -> tuple[Path, dict[str, str]]:
        """Give what every server has: the container has its own."""
        return Server.place(self)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run another command in a container of the same image."""
        return subprocess.run(
            self.command(*command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=120,
        )

    def first_process(self) -> psutil.Process:
        """Give what is process 1 inside."""
        assert self.process is not None
        (child,) = psutil.Process(self.process.pid).children()
        return child

    def stop(self, *, crash: bool = False) -> None:
        """Stop it as an engine does: the signal goes to process 1."""
        if self.process is not None and not crash:
            with contextlib.suppress(psutil.NoSuchProcess, ValueError):
                self.first_process().terminate()
        super().stop(crash=crash)


def proc_file(process: psutil.Process, name: str) -> str:
    """Read what the kernel says of a process."""
    return Path(f"/proc/{process.pid}/{name}").read_text()
