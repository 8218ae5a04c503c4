"""Stop the servers of a process that has ended, however it ended, and remove their files.

Started by `workshop.py` with a pipe as standard input. A byte in it, or its end when the process
has been killed, is the sign to act. A death signal in the server itself would not do: it follows
the thread that started the server, and a paused server would never see it.
"""

import contextlib
import shutil
import sys
from pathlib import Path

import psutil


def kill_tree(pid: int) -> None:
    """Kill a process and all that it started, paused ones too."""
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def processes_in(folder: Path) -> list[psutil.Process]:
    """Give the processes that work in a folder, whoever is their parent by now."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if Path(process.cwd()).is_relative_to(folder):
                found.append(process)
    return found


def main(folder: Path) -> None:
    """Wait for the end of the parent, then clear away what it left."""
    sys.stdin.buffer.read(1)
    for pid_file in folder.glob("*/pid"):
        kill_tree(int(pid_file.read_text()))
    for process in processes_in(folder):  # such as Patroni's PostgreSQL
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
