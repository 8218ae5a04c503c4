"""What the hooks of docs/add.md do for the workers of an application of somebody's own."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from .service import Service, serve, wait_for

MAX, CAPACITY = "db_client_connection_max", 15  # SQLAlchemy's defaults: 5, and 10 more
LOADED = 20_000  # objects of Flask and SQLAlchemy, at the least
HOOKS = "from flask_pool.gunicorn import child_exit, on_starting, post_fork, post_worker_init\n"
TOKEN = {"Authorization": "Bearer a token of the tests, and long"}


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
        folder, "--config", "hooks.py", *options, *limit, app="own:app", GUNICORN=gunicorn
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


def test_the_budget_counts_the_workers_that_gunicorn_has(folder: Path, gunicorn: str) -> None:
    """Also if the application's config says nothing of them."""
    (folder / "hooks.py").write_text(HOOKS)
    with serve(
        folder, "--config", "hooks.py", workers=3, app="own:app", GUNICORN=gunicorn
    ) as service:

        def budget() -> Any:
            return json.loads(service.get("/pool.json", TOKEN)[1])["pools"][0]["budget"]

        wait_for(lambda: budget() is not None)
        assert (budget()["workers"], budget()["needed"]) == (3, 3 * CAPACITY)


@pytest.mark.parametrize("options", [(), ("--preload",)], ids=["plain", "preload"])
def test_metrics_are_those_of_all_workers(
    folder: Path, gunicorn: str, options: tuple[str, ...]
) -> None:
    """No folder has to be made for them, and none is left."""
    (folder / "hooks.py").write_text(HOOKS)
    with serve(
        folder, "--config", "hooks.py", *options, workers=3, app="own:app", GUNICORN=gunicorn
    ) as service:

        def capacity() -> float:
            _, text = service.get("/metrics", TOKEN)
            (line,) = [each for each in text.splitlines() if each.startswith(MAX)]
            return float(line.split()[-1])

        wait_for(lambda: capacity() == 3 * CAPACITY)
        place = Path(service.get("/folder")[1])
        assert place.exists()

    assert not place.exists()


def test_a_gunicorn_that_lacks_something_serves_as_any(folder: Path) -> None:
    """Each worker has a queue of its own then, and the log says so."""
    lines = "from flask_pool import worker\nworker.NEEDS += ((worker.gthread, 'something'),)\n"
    (folder / "lacks.py").write_text(lines)
    with serve(folder, "--config", "lacks.py") as service:
        assert service.get() == (200, "served")
        assert (
            "this machine lacks ['gunicorn.workers.gthread.something']" in service.log.read_text()
        )
