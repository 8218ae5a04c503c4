"""Where the queue is seen: metrics, the page's data, Server-Timing, `flask pool check`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bake import ROOT

from .service import INSIDE, Generator, read_answer, serve

OPERATOR = {"Authorization": "Bearer token"}


@pytest.mark.needs("gcc")
def test_waits_and_refusals_are_counted(folder: Path, load: Generator) -> None:
    """What clients met is what the metrics say, and the page's data too."""
    with serve(folder, app="pooled:app") as service:
        status, headers = read_answer(service.ask())
        assert status == 200
        assert re.search(r"queue;dur=\d+\.\d\d, pool;dur=", headers["Server-Timing"])
        done = load.run(service.port, "60:3")
        refused = done.statuses[503]
        assert refused > 20
        data = json.loads(service.get("/pool.json", OPERATOR)[1])
        metrics = service.get("/metrics", OPERATOR)[1]
        time.sleep(2)
        later = json.loads(service.get("/pool.json", OPERATOR)[1])
    assert data["queue"]["refused"] == data["unavailable"]["overloaded"] == refused
    assert f'request_unavailable_total{{reason="overloaded"}} {refused}.0' in metrics
    count = re.search(r"request_queue_time_seconds_count (\d+)\.0", metrics)
    assert count is not None
    assert int(count[1]) >= len(done.clients)
    assert later["queue"]["since"] is None  # nobody is refused any more


def check(folder: Path) -> str:
    """Return what `flask pool check` says in a folder."""
    environ = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{INSIDE}"}
    done = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "pooled", "pool", "check", "--format", "json"],
        cwd=folder, env=environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = json.loads(done.stdout)["findings"]
    return " ".join(each["message"] for each in found if each["name"] == "queue")


def test_check_tells_where_the_wait_is_not_known(tmp_path: Path) -> None:
    """Another worker, and a unix socket, are found in gunicorn.conf.py."""
    assert check(tmp_path) == ""
    configuration = tmp_path / "gunicorn.conf.py"
    configuration.write_text('worker_class = "flask_pool.gunicorn.Worker"\nbind = "[::1]:9"\n')
    assert check(tmp_path) == ""
    configuration.write_text('worker_class = "gthread"\nbind = "unix:/run/web"\n')
    assert "gunicorn's worker is gthread" in check(tmp_path)
    assert "a unix socket does not tell" in check(tmp_path)
