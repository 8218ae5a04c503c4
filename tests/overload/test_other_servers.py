"""The rule without the worker: as far as a server shows the socket."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from bake import ROOT
from servers.workshop import free_port

from .service import INSIDE, PLAIN, Service, read_answer, serve, wait_for


def test_plain_gunicorn_with_the_middleware(folder: Path, gunicorn: str) -> None:
    """Threads refuse what waited for more than ten times the target."""
    with serve(folder, worker=PLAIN, threads=1, GUNICORN=gunicorn, MIDDLEWARE="1") as service:
        for _ in range(40):  # a mean time to go by
            service.get("/wait")
        stuck = service.ask("/?seconds=2.5")
        time.sleep(0.3)
        line = [service.ask() for _ in range(10)]
        probe = service.ask("/healthz/live")
        assert read_answer(stuck)[0] == 200
        statuses = Counter(read_answer(each)[0] for each in line)
        assert statuses[503] >= 8
        assert read_answer(probe)[0] == 200


def test_flasks_own_server_tells_the_wait(tmp_path: Path) -> None:
    """Werkzeug shows its socket."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "flask", "--app", "views", "run", "--port", str(port)],
        cwd=tmp_path, stderr=subprocess.DEVNULL,
        env={"PATH": "", "PYTHONPATH": f"{ROOT / 'src'}:{INSIDE}", "MIDDLEWARE": "1"},
    )  # fmt: skip
    service = Service(process, port, tmp_path / "log")
    try:
        wait_for(lambda: service.get("/wait")[0] == 200)
        assert float(service.get("/wait")[1]) < 5
    finally:
        process.terminate()
        process.wait()


def test_a_server_without_a_socket_is_left_alone() -> None:
    """Werkzeug's test client shows none: the header is shown, and refuses nothing."""
    pytest.importorskip("flask")
    code = (
        "import time, views\n"
        "old = {'X-Request-Start': f't={time.time() - 30}'}\n"
        "answer = views.app.test_client().get('/wait', headers=old)\n"
        "print(answer.status_code, float(answer.text) > 25)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={"PYTHONPATH": f"{ROOT / 'src'}:{INSIDE}", "MIDDLEWARE": "1"},
    )  # fmt: skip
    assert done.stdout.split() == ["200", "True"]


def test_a_middleware_behind_the_worker_judges_nothing_again(folder: Path) -> None:
    """A request is judged once."""
    with serve(folder, MIDDLEWARE="1") as service:
        found = [service.get("/wait") for _ in range(3)]
        assert [status for status, _ in found] == [200] * 3
