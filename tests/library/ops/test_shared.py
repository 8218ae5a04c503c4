"""Metrics of several workers: bounded, never falling, and no danger to the service."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from time import sleep

import flask_pool as pool
import pytest

SHARED = Path(pool.__file__).parent / "ops" / "shared.py"
# a server in a few lines: it loads the file by its path, and forks workers that count
SERVER = """
import importlib.util, os, pathlib, signal, sys, time
spec = importlib.util.spec_from_file_location("shared", sys.argv[1])
shared = importlib.util.module_from_spec(spec)
spec.loader.exec_module(shared)
WORK, ALIVE = '["counter", "work"]', '["gauge", "alive"]'

def work(amount=1, labels=0, crash=False):
    more = {f'["counter", "more", "{label:0300}"]': [1] for label in range(labels)}
    shared.write({WORK: [amount], ALIVE: [1], **more})
    if crash:
        os.kill(os.getpid(), signal.SIGKILL)

def start(**given):
    pid = os.fork()
    if not pid:
        shared.prepare_worker()
        work(**given)
        os._exit(0)
    return pid

def run(**given):
    pid = start(**given)
    status = os.waitpid(pid, 0)[1]
    shared.worker_ended(pid)
    return status

def total(key=WORK):
    return shared.added_up(shared.read().values()).get(key, [0])[0]

def names():
    return sorted(os.listdir(shared.folder()))
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="gunicorn's folder, on Linux")


@pytest.fixture
def places(tmp_path: Path) -> str:
    """Where servers may have their folders, as source code."""
    return f"shared.PLACES = ({str(tmp_path)!r},)\n"


def serve(*code: str, **variables: str) -> subprocess.Popen[str]:
    kept = {name: value for name, value in os.environ.items() if "PROMETHEUS" not in name}
    return subprocess.Popen(
        [sys.executable, "-c", SERVER + "".join(code), str(SHARED)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=kept | variables,
        text=True,
    )


def said(*code: str, **variables: str) -> str:
    """Run a server to its end, and return what it printed."""
    with serve(*code, **variables) as server:
        out, error = server.communicate(timeout=60)
    assert server.returncode == 0, error
    return out + error


def test_replaced_workers_leave_no_files_and_no_counter_falls(places: str) -> None:
    said(
        places,
        "shared.open_folder()\n",
        "for number in range(1, 13):\n"
        "    assert run(crash=number % 2) in (0, signal.SIGKILL)\n"
        "    assert total() == number, total()\n"
        "    assert names() == ['ended.json', 'lock'], names()\n"
        "assert total(ALIVE) == 0\n",
    )


def test_a_reader_sees_each_count_once_while_workers_are_replaced(places: str) -> None:
    said(
        places,
        "shared.open_folder()\nreader = os.fork()\n",
        "if not reader:\n"
        "    seen = 0\n"
        "    while seen < 8:\n"
        "        now = total()\n"
        "        assert seen <= now <= 8, (seen, now)\n"
        "        seen = now\n"
        "    os._exit(0)\n"
        "for _ in range(8):\n"
        "    run()\n"
        "assert os.waitpid(reader, 0)[1] == 0",
    )


def test_a_stopped_reader_does_not_stop_the_server(places: str) -> None:
    said(
        places,
        "shared.PATIENCE = 0.05\nshared.open_folder()\n",
        "with shared._locked(shared.folder(), exclusive=False):\n"
        "    run()\n"
        "    assert total(ALIVE) == 0\n"
        "run()\n"
        "assert (total(), names()) == (2, ['ended.json', 'lock']), names()",
    )


def test_a_folder_is_opened_once_and_goes_with_its_server(places: str, tmp_path: Path) -> None:
    told = said(
        places,
        "shared.open_folder()\n"
        "first = shared.folder()\n"
        "run()\n"
        "shared.open_folder()\n"
        "assert shared.folder() == first\n"
        "print(total())",
    )

    assert told == "1\n"
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_killed_server_is_removed_by_the_next(places: str, tmp_path: Path) -> None:
    waiting = "shared.open_folder()\nrun()\nprint(names(), flush=True)\nsys.stdin.read()\n"
    with serve(places, waiting) as killed, serve(places, waiting) as running:
        assert killed.stdout
        assert running.stdout
        killed.stdout.readline()
        running.stdout.readline()
        assert len(list(tmp_path.iterdir())) == 2
        killed.send_signal(signal.SIGKILL)
        killed.wait()

        said(places, "shared.open_folder()\nrun()")

        assert len(list(tmp_path.iterdir())) == 1
        assert running.communicate("")[1] == ""
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_starts_beside_another_leaves_its_folder(places: str) -> None:
    said(
        places,
        "lock = shared._lock\n"
        "def lock_late(descriptor, *, exclusive):\n"
        "    if not exclusive:\n"
        "        shared._remove_abandoned(shared.PLACES[0])  # as the other server does\n"
        "    lock(descriptor, exclusive=exclusive)\n"
        "shared._lock = lock_late\n"
        "shared.open_folder()\n"
        "run()\n"
        "assert total() == 1, names()",
    )


def test_a_folder_that_was_given_holds_it_and_stays(places: str, tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    (given / "counter_1.db").touch()  # an application's own

    said(
        places,
        "shared.open_folder()\nrun()\nassert total() == 1, names()\n"
        f"assert shared.folder().parent == pathlib.Path({str(given)!r})",
        PROMETHEUS_MULTIPROC_DIR=str(given),
    )

    assert [path.name for path in given.iterdir()] == ["counter_1.db"]


def test_a_missing_folder_costs_metrics_alone(places: str) -> None:
    told = said(
        places,
        "shared.open_folder()\n"
        "import shutil\n"
        "shutil.rmtree(shared.folder())\n"
        "assert run(labels=500) == 0\n"
        "assert (shared.folder(), total()) == (None, 0)\n",
    )

    (line,) = [line for line in told.splitlines() if "shares no metrics" in line]
    assert "No such file" in line


def test_no_place_for_a_folder_costs_metrics_alone() -> None:
    told = said(
        "shared.PLACES = ('/proc', '/nowhere')\nshared.open_folder()\n"
        "assert run() == 0\n"
        "assert shared.folder() is None\n",
    )

    assert told.strip() == "workers share no metrics: no folder can be made for them"


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A file system with room for a few metrics."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["/bin/mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"a small file system can't be mounted: {mounted.stderr.decode().strip()}")
    return place


@pytest.mark.parametrize("labels", [1, 2000])
def test_a_full_folder_costs_metrics_alone(small: Path, labels: int) -> None:
    try:
        told = said(
            f"shared.PLACES = ({str(small)!r},)\nshared.open_folder()\nrun(amount=3)\n",
            f"assert run(labels={labels}) == 0\n",
            "before = total()\n"
            "full = shared.folder() / 'filler'\n"
            "try:\n"
            "    with full.open('wb', buffering=0) as file:\n"
            "        while file.write(bytes(4096)): pass\n"
            "except OSError as error: print(error)\n"
            f"assert run(labels={labels}) == 0\n"
            "assert total() == before >= 3, total()\n"
            "full.unlink()\n"
            "run()\n"
            "assert total() >= before, total()\n",
        )
        assert "No space left" in told
        assert "shares no metrics" in told
    finally:
        for _ in range(50):
            if not subprocess.run(["/bin/umount", str(small)], check=False).returncode:
                break
            sleep(0.1)
