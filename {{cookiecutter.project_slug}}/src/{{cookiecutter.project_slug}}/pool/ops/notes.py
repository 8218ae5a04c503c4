"""Who leaked a connection last, for all workers to tell: a file beside their metrics."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from threading import get_ident
from time import time
from typing import TypedDict


class Leak(TypedDict):
    """Where a connection was taken that was never closed, and when that was found."""

    taker: str
    time: float


_own: dict[str, Leak] = {}


def folder() -> Path | None:
    """Return where workers share their metrics, None if this process is alone."""
    name = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    return Path(name) if name else None


def leave(pool_name: str, taker: str) -> None:
    """Note this leak as the pool's last."""
    _own[pool_name] = {"taker": taker, "time": time()}
    shared = folder()
    if shared is None:
        return
    draft = shared / f"leaks_{os.getpid()}_{get_ident()}.draft"
    with contextlib.suppress(OSError):  # a full disk must not keep a connection from its pool
        draft.write_text(json.dumps(_own), encoding="utf-8")
        draft.replace(shared / f"leaks_{os.getpid()}.json")


def last_leak(pool_name: str) -> Leak | None:
    """Return the pool's last leak in any worker."""
    shared = folder()
    notes = [_own]
    if shared is not None:
        notes = [json.loads(file.read_text("utf-8")) for file in shared.glob("leaks_*.json")]
    found = [note[pool_name] for note in notes if pool_name in note]
    return max(found, key=lambda leak: leak["time"], default=None)
