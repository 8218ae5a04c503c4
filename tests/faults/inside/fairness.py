"""Let twenty threads share two connections for a while, and count how often each gets one."""

from __future__ import annotations

import json
import threading
import time

from fault_service import create_app
from sqlalchemy import text
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

THREADS, SECONDS = 20, 2.0
engine = create_app().extensions["pool"].engines["default"]
counts = [0] * THREADS
timeouts: list[str] = []
start = threading.Barrier(THREADS + 1)


def loop(number: int) -> None:
    """Ask as often as the pool lets this thread."""
    start.wait()
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        try:
            with engine.connect() as connection:
                connection.scalar(text("SELECT 1"))
        except PoolTimeoutError as error:
            timeouts.append(str(error))
        else:
            counts[number] += 1


def main() -> None:
    """Run the threads and report."""
    threads = [threading.Thread(target=loop, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    start.wait()
    for thread in threads:
        thread.join()
    print(json.dumps({"counts": counts, "timeouts": timeouts}))


if __name__ == "__main__":
    main()
