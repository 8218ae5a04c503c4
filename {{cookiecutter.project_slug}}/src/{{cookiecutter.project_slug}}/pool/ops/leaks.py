"""Who leaked a connection last, for all workers to tell: a file beside their metrics."""

from __future__ import annotations

import contextlib
import json
import os
from threading import get_ident
from time import time
from typing import TypedDict

from . import shared


class Leak(TypedDict):
    """Where a connection was taken that was never closed, and when that was found."""

    taker: str
    time: float


_own: dict[str, Leak] = {}


def note(pool_name: str, taker: str) -> None:
    """Note this leak as the pool's last."""
    leak: Leak = {"taker": taker, "time": time()}
    _own[pool_name] = leak
    folder = shared.folder()
    if folder is None:
        return
    draft = folder / f"leaks_{get_ident()}_{os.getpid()}.json"
    with contextlib.suppress(OSError):  # a full disk must not keep a connection from its pool
        draft.write_text(json.dumps(_of_all() | {pool_name: leak}), encoding="utf-8")
        draft.replace(folder / "leaks.json")


def last(pool_name: str) -> Leak | None:
    """Return the pool's last leak in any worker."""
    return _of_all().get(pool_name)


def _of_all() -> dict[str, Leak]:
    folder = shared.folder()
    if folder is not None:
        with contextlib.suppress(OSError, ValueError):
            found: dict[str, Leak] = json.loads((folder / "leaks.json").read_text("utf-8"))
            return found
    return dict(_own)
