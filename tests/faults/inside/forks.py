"""Fork from a process whose pool is in use, use it on both sides, and report what was seen."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
from collections import defaultdict
from multiprocessing.connection import Connection
from typing import Any

from fault_service import create_app
from sqlalchemy import text

ROUNDS = 300
app = create_app()
engine = app.extensions["pool"].engines["default"]
FUNCTION = "pg_backend_pid" if engine.dialect.name == "postgresql" else "connection_id"
ECHO = text(f"SELECT :value, {FUNCTION}()")


def ask(start: int) -> tuple[int, int, int, set[int]]:
    """Ask for numbers that nobody else asks for; count the right and the wrong answers."""
    right, backends = 0, set()
    for value in range(start, start + ROUNDS):
        with engine.connect() as connection:
            got, backend = connection.execute(ECHO, {"value": value}).one()
        right += int(got) == value
        backends.add(backend)
    if multiprocessing.parent_process() is not None:
        engine.dispose()  # multiprocessing ends a child without its exit handlers
    return os.getpid(), right, ROUNDS - right, backends


def send(there: Connection, start: int) -> None:
    """Ask in a child."""
    there.send(ask(start))


def main() -> None:
    """Let four children and their parent ask at once."""
    before = ask(0)[3]
    held = engine.connect()
    held.scalar(ECHO, {"value": 0})
    results: list[Any] = []
    # a Process and a Pipe alone need no shared memory
    context = multiprocessing.get_context("fork")
    children = []
    for start in (20_000, 30_000, 40_000, 50_000):
        here, there = context.Pipe(duplex=False)
        child = context.Process(target=send, args=(there, start))
        child.start()
        children.append((child, here))
    own = threading.Thread(target=lambda: results.append(ask(10_000)))
    own.start()
    for child, here in children:
        assert here.poll(60)
        results.append(here.recv())
        child.join(60)
    own.join(60)
    still_there = int(held.scalar(ECHO, {"value": 7}) or 0) == 7
    held.close()
    after = ask(60_000)[3]

    users = defaultdict(set)
    for process, _, _, backends in results:
        for backend in backends | (before if process == os.getpid() else set()):
            users[backend].add(process)
    report = {
        "right": sum(right for _, right, _, _ in results),
        "wrong": sum(wrong for _, _, wrong, _ in results),
        "shared": [backend for backend, processes in users.items() if len(processes) > 1],
        "parent kept": still_there and bool(before & after),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
