"""Each worker leaves what it has loaded out of garbage collections, however it came to be."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from .service import Service, serve, wait_for

LOADED = 20_000  # objects of Flask and SQLAlchemy, at the least
HOOKS = "from flask_pool.gunicorn import post_fork, post_worker_init\n"


def ask(service: Service) -> dict[str, int]:
    """Return what a worker tells of itself."""
    return dict(json.loads(service.get("/frozen")[1]))


@pytest.mark.parametrize("options", [(), ("--preload",)], ids=["plain", "preload"])
@pytest.mark.parametrize("way", ["started", "reloaded", "max_requests"])
def test_workers_are_frozen(
    folder: Path, gunicorn: str, way: str, options: tuple[str, ...]
) -> None:
    """Most of what is loaded is frozen in the first worker and in the one that follows it."""
    (folder / "hooks.py").write_text(HOOKS)
    limit = ("--max-requests", "20") if way == "max_requests" else ()
    with serve(
        folder, "--config", "hooks.py", *options, *limit, app="frozen:app", GUNICORN=gunicorn
    ) as service:
        first = told = ask(service)
        if way == "reloaded":
            service.signal(signal.SIGHUP)
        if way != "started":
            wait_for(lambda: ask(service)["worker"] != first["worker"])
            told = ask(service)

        for each in (first, told):
            assert each["frozen"] > LOADED
            assert each["free"] < each["frozen"] / 4
