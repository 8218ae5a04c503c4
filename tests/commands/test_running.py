"""The commands beside a running service, and the service without them."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import psutil
import pytest
import servers
from faults.project import OPS_TOKEN, Project
from faults.service import Service
from servers.process import running

from .conftest import Pool

BENCH = ("bench", "--seconds", "3", "--rounds", "2", "--threads", "2", "--format", "json")


@pytest.fixture
def database(project: Project, postgresql: servers.PostgreSQL) -> str:
    """Give the URL of a migrated database."""
    url = postgresql.url(postgresql.create_database())
    project.migrate(url)
    return url


def test_status_watches_a_service(project: Project, pool: Pool, database: str) -> None:
    """It goes on until it is interrupted, and that is no failure."""
    with running(Service(project, database)) as service:
        address = f"http://127.0.0.1:{service.port}"
        once = pool(database, "status", "--url", address, OPS_TOKEN=OPS_TOKEN)
        assert re.search(r"^capacity +8$", once.out, re.MULTILINE), once
        command = ("flask", "pool", "status", "--url", address, "--watch", "--interval", "0.2")
        with project.start(database, *command, "--format", "json", OPS_TOKEN=OPS_TOKEN) as watch:
            assert watch.stdout
            lines = [watch.stdout.readline() for _ in range(3)]
            watch.send_signal(signal.SIGINT)
            watch.wait(timeout=60)
        assert watch.returncode == 0
        assert all(json.loads(line)["pools"][0]["capacity"] == 8 for line in lines)


def test_bench_shows_what_a_network_adds(
    pool: Pool, database: str, postgresql: servers.PostgreSQL, project: Project
) -> None:
    """A pooled read pays the way once, a new connection many times; nothing is left."""
    told = pool(database, *BENCH, "--simulate-latency", "20")

    assert told.code == 0, told.err
    result = {result["variant"]: result for result in told.data["results"]}
    assert all(each["failed"] == 0 for each in result.values())
    one, two = (result[name]["median_ms"] for name in ("as configured", "pooled, pre-ping"))
    assert 20 <= one < two
    assert two >= 40
    assert result["unpooled"]["median_ms"] >= 100
    assert result["as configured"]["ratio"] > 2
    servers.wait_until(lambda: not postgresql.connections(database.rpartition("/")[2]))
    programs = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    mine = [words for words in programs if words and words[0].startswith(str(project.path))]
    assert not [words for words in mine if any(word.endswith("latency.py") for word in words)]


@pytest.mark.parametrize(
    ("form", "begin"),
    [("svg", b"<?xm"), pytest.param("png", b"\x89PNG", marks=pytest.mark.repeat)],
)
def test_bench_draws_a_picture(
    pool: Pool, database: str, tmp_path: Path, form: str, begin: bytes
) -> None:
    """In the format that the file's name says."""
    picture = tmp_path / f"bench.{form}"
    told = pool(database, "bench", "--seconds", "0.5", "--rounds", "1", "--plot", str(picture))
    assert told.code == 0, told.err
    assert picture.read_bytes().lstrip()[:4] == begin


def test_bench_says_what_a_plot_needs(pool: Pool, database: str, tmp_path: Path) -> None:
    """Before it measures anything."""
    (tmp_path / "matplotlib.py").write_text("raise ImportError")
    told = pool(database, *BENCH, "--plot", str(tmp_path / "x.svg"), PYTHONPATH=str(tmp_path))
    assert told.code == 1
    hint = r"Error: --plot needs matplotlib: pip install 'flask-pool\[plot\]'\n"
    assert re.fullmatch(hint, told.err)


def test_serving_loads_nothing_of_the_commands(project: Project) -> None:
    """Neither their modules nor the libraries that only they use."""
    code = (
        "import os, sys; from importlib import import_module\n"
        "import_module(os.environ['FLASK_APP']).create_app()\n"
        "heavy = ('rich', 'matplotlib')\n"
        "print([name for name in sys.modules if 'ops.commands.' in name or name in heavy])"
    )
    name = next((project.path / "src").iterdir()).name
    said = project.run("sqlite://", "python", "-c", code, FLASK_APP=name)
    assert said.splitlines()[-1] == "[]"
