"""The comparison of pools over a slow network, its picture, and a service without the commands."""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import servers

from .conftest import Pool

BENCH = ("bench", "--path", "/one", "--rounds", "1", "--threads", "2")


@pytest.fixture
def url(postgresql: servers.PostgreSQL) -> str:
    """Give the URL of a database of this test's own."""
    return postgresql.url(postgresql.create_database())


def test_bench_shows_what_a_network_adds(
    pool: Pool, url: str, postgresql: servers.PostgreSQL, tmp_path: Path
) -> None:
    """A pooled read pays the way once, a new connection many times; nothing is left."""
    picture = tmp_path / "bench.svg"
    far = ("--simulate-latency", "20", "--plot", str(picture))
    told = pool(url, *BENCH, "--seconds", "3", *far, "--format", "json")

    assert told.code == 0, told.err
    result = {result["variant"]: result for result in told.data["results"]}
    assert all(each["failed"] == 0 for each in result.values())
    one, two = (result[name]["median_ms"] for name in ("as configured", "pooled, pre-ping"))
    assert 20 <= one < two
    assert two >= 40
    assert result["unpooled"]["median_ms"] >= 100
    assert result["as configured"]["ratio"] > 2
    servers.wait_until(lambda: not postgresql.connections(url.rpartition("/")[2]))
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # a backend that has just ended
            assert not any("latency" in word for word in process.cmdline())
    assert picture.read_bytes().startswith(b"<?xm")


@pytest.mark.repeat
def test_bench_draws_a_picture_as_its_name_says(pool: Pool, url: str, tmp_path: Path) -> None:
    """A bitmap too."""
    picture = tmp_path / "bench.png"
    told = pool(url, *BENCH, "--seconds", "0.5", "--plot", str(picture))
    assert told.code == 0, told.err
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_bench_says_what_a_plot_needs(
    pool: Pool, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it measures anything."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    told = pool(url, *BENCH, "--plot", str(tmp_path / "x.svg"))
    assert told.code == 1
    hint = r"Error: --plot needs matplotlib: pip install 'flask-pool\[plot\]'\n"
    assert re.fullmatch(hint, told.err)
