"""Many threads end their checkouts in every way there is; then the pool's books are checked."""

from __future__ import annotations

import gc
import json
import random
import re
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fault_service import create_app
from sqlalchemy import create_engine, event, text
from sqlalchemy.pool import NullPool

THREADS, ROUNDS = 16, int(sys.argv[1])
app = create_app()
engine: Any = app.extensions["pool"].engines["default"]
postgresql = engine.dialect.name == "postgresql"
OTHERS = (
    "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
    " AND datname = current_database() AND pid <> pg_backend_pid()"
    if postgresql
    else "SELECT count(*) FROM information_schema.processlist"
    " WHERE db = database() AND id <> connection_id()"
)
mood = threading.local()


class Planned(Exception):
    """An error on purpose."""


def fail_if_planned(happening: str) -> Any:
    """Make a listener that fails in a thread that is in the mood for it."""

    def listener(*_: Any) -> None:
        if getattr(mood, "fails_at", None) == happening:
            mood.fails_at = None
            raise Planned(happening)

    return listener


for name in ("do_connect", "connect", "checkout", "reset"):
    event.listen(engine, name, fail_if_planned(name))


def end(ending: str) -> None:
    """Take a connection, use it, and let it go in one way."""
    if ending in ("do_connect", "connect", "checkout", "reset"):
        mood.fails_at = ending
    if ending == "raw":
        engine.raw_connection().close()
        return
    connection = engine.connect()
    connection.execute(text("SELECT 1"))
    if ending == "invalidate":
        connection.invalidate()
    elif ending == "detach":
        connection.detach()
    elif ending == "dispose":
        engine.dispose()
    elif ending == "forget":
        del connection
        gc.collect()  # or nobody would notice while all others wait
        return
    elif ending == "raise":
        with connection:
            raise Planned(ending)
    connection.close()


ENDINGS = [
    *["return"] * 6, "raw", "invalidate", "detach", "forget", "raise",
    "do_connect", "connect", "checkout", "reset",
]  # fmt: skip


def work(seed: int) -> Counter[str]:
    """Go through many endings; count each, and every outcome that was not planned."""
    random_endings = random.Random(seed)
    seen: Counter[str] = Counter()
    for _ in range(ROUNDS):
        ending = random_endings.choice(ENDINGS)
        if random_endings.random() < 0.01:
            ending = "dispose"
        try:
            end(ending)
        except Planned:
            pass
        except Exception as error:  # noqa: BLE001 - whatever comes belongs in the report
            seen[f"unplanned {type(error).__name__}: {error}"] += 1
        mood.fails_at = None
        seen[ending] += 1
    return seen


def counted(state: str) -> float:
    """Read the pool's own count off its metrics."""
    client = app.test_client()
    page = client.get("/metrics", headers={"Authorization": "Bearer operator"}).text
    lines = [line for line in page.splitlines() if f'state="{state}"' in line]
    return sum(float(value) for value in re.findall(r" (\S+)$", "\n".join(lines), re.MULTILINE))


def on_server() -> int:
    """Ask the server, on a connection outside the pool, how many clients it has."""
    with create_engine(engine.url, poolclass=NullPool).connect() as connection:
        return int(connection.scalar(text(OTHERS)) or 0)


def main() -> None:
    """Stress the pool, let it come to rest, report."""
    with ThreadPoolExecutor(THREADS) as executor:
        seen = sum(executor.map(work, range(THREADS)), Counter())
    gc.collect()
    pool = engine.pool
    patience = time.monotonic() + 5
    while on_server() != counted("idle") and time.monotonic() < patience:
        time.sleep(0.05)
    rested = {
        "capacity": pool.capacity,
        "waiting": pool.waiting(),
        "checkedout": pool.checkedout(),
        "used": counted("used"),
        "idle - on the server": counted("idle") - on_server(),
    }
    # all slots can be used, and no more
    held = [engine.connect() for _ in range(pool.capacity)]
    rested["held on the server"] = on_server()
    rested["used while held"] = counted("used")
    for connection in held:
        connection.close()
    print(json.dumps({"seen": seen, "rested": rested}))


if __name__ == "__main__":
    main()
