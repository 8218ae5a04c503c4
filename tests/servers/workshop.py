"""The temporary folder in which one process keeps its servers, and what every server needs."""

import atexit
import contextlib
import functools
import os
import random
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any


@functools.cache
def workshop() -> Path:
    """Make the folder of this process, with a guard that clears it when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="flask-pool-", dir=_place()))
    # servers that run as another user must be able to reach their own folder inside
    folder.chmod(0o711)
    command = [sys.executable, str(Path(__file__).with_name("guard.py")), str(folder)]
    guard = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    atexit.register(_dismiss, guard, os.getpid())
    return folder


def _place() -> str:
    """Give the folder of temporary files, or a better one for servers."""
    usual = Path(tempfile.gettempdir()).resolve()
    # a socket's path has 107 characters at most
    is_long = len(str(usual)) > 50
    others_can_pass = all(path.stat().st_mode & 0o001 for path in (usual, *usual.parents))
    is_closed = os.name == "posix" and os.geteuid() == 0 and not others_can_pass
    return "/tmp" if is_long or is_closed else str(usual)


def _dismiss(guard: "subprocess.Popen[bytes]", owner: int) -> None:
    # a forked child that exits runs this too, and must leave its parent's servers alone
    if os.getpid() == owner:
        with contextlib.suppress(subprocess.TimeoutExpired):
            guard.communicate(b".", timeout=30)


@functools.cache
def account(*names: str) -> dict[str, Any]:
    """Name the user of a server for `subprocess`: database servers refuse to run as root."""
    if os.geteuid() != 0:
        return {}
    import pwd  # noqa: PLC0415 - it is not there on Windows

    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = next(known[name] for name in (*names, "nobody") if name in known)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def make_folder(name: str, owner: dict[str, Any]) -> Path:
    """Make a folder in the workshop for a user."""
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=workshop()))
    if owner:
        os.chown(folder, owner["user"], owner["group"])
    return folder


def environment(folder: Path) -> dict[str, str]:
    """Give the variables of a process that has its temporary files in its own folder."""
    return os.environ | {"TMPDIR": str(folder)}


def run_tool(command: list[str], owner: dict[str, Any], folder: Path) -> None:
    """Run a tool of a server as its user; what it said is in the error."""
    done = subprocess.run(
        command,
        check=False,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        env=environment(folder),
        **owner,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed:\n{done.stdout}{done.stderr}")


def free_port() -> int:
    """Find a free port below the ephemeral ones.

    An ephemeral port may be taken by any outgoing connection while its server is stopped, and a
    client that keeps trying to reach it can even end up connected to itself.
    """
    while True:
        port = random.randrange(12_000, 32_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
