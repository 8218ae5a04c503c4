"""Servers that fork after their first query, and poolers between."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
import servers
from servers.workshop import free_port

from .applications import POOL
from .databases import Database, on

TESTS = Path(__file__).resolve().parents[1]
BESIDE_PYTHON = Path(sys.executable).parent

COMMANDS = {
    "uwsgi": [
        "--http-socket", "127.0.0.1:{port}", "--module", "situations.served:app", "--master",
        "--processes", "4", "--enable-threads", "--threads", "2", "--die-on-term", "--need-app",
        "--home", sys.prefix, "--disable-logging",
    ],
    "gunicorn": [
        "--bind", "127.0.0.1:{port}", "--preload", "--workers", "4", "--threads", "2",
        "--log-level", "error", "situations.served:app",
    ],
}  # fmt: skip


@contextlib.contextmanager
def serving(server: str, side: str, database: Database) -> Iterator[int]:
    """Serve the application with this server, and give its port."""
    program = BESIDE_PYTHON / server
    if not program.exists():
        pytest.skip(f"{server} is not installed")
    port = free_port()
    command = [str(program), *(part.format(port=port) for part in COMMANDS[server])]
    own = {
        "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent / "src")]),
        "SITUATIONS_SIDE": side,
        "SITUATIONS_URL": database.url,
    }
    with subprocess.Popen(
        command, env=os.environ | own, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            servers.wait_until(lambda: process.poll() is not None or answers(port, 0), 30)
            assert process.poll() is None, f"{server} did not start"
            yield port
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()


def answers(port: int, number: int) -> str:
    """Ask for a number, and give what came; nothing if nothing came."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/echo/{number}", timeout=10) as answer:
            return str(answer.read().decode())
    except (URLError, OSError):
        return ""


@on("postgresql", "mariadb")
@pytest.mark.parametrize("server", COMMANDS)
def test_forked_after_the_first_query(database: Database, server: str) -> None:
    """No child answers with what another one asked: 480 numbers come back as they were sent."""
    with serving(server, POOL, database) as port, ThreadPoolExecutor(8) as clients:
        found = list(clients.map(lambda number: answers(port, number), range(480)))
    assert [number for number, told in enumerate(found) if told != str(number)] == []
