"""The page docs/scale.md, and the command that plays it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from bake import FOLDER, ROOT

from benchmarks.fleet import day, report, steps
from benchmarks.fleet.worker import Settings

PAGE = ROOT / "docs" / "scale.md"


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a reader does."""
    line = [sys.executable, "-m", "benchmarks.fleet", *arguments]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_the_model_has_the_defaults_of_the_product() -> None:
    """Those of the prompts, and of a new project's settings."""
    prompts = json.loads((ROOT / "cookiecutter.json").read_text())
    package = ROOT / FOLDER / "src" / FOLDER
    defaults = (package / "defaults.toml").read_text()
    settings = Settings()

    assert int(prompts["pool_size"]) == steps.POOL_SIZE == settings.pool_size == settings.threads
    assert int(prompts["max_overflow"]) == settings.max_overflow
    assert float(prompts["pool_timeout"]) == settings.pool_timeout == steps.PATIENCE
    assert f"WEB_CONCURRENCY = {steps.WORKERS}\n" in defaults
    assert f"SQLALCHEMY_CONNECT_TIMEOUT = {day.CONNECT_TIMEOUT:g}\n" in defaults
    assert settings.connect_timeout == day.CONNECT_TIMEOUT


def test_the_page_shows_what_the_command_prints() -> None:
    """Each table of the page's simulation, and the picture that was drawn with them."""
    printed = command()
    assert (printed.returncode, printed.stderr) == (0, "")
    page = PAGE.read_text("utf-8")
    simulation = page.partition("## The simulation")[2]

    tables = re.findall(r"(?:^\|.*\|$\n)+", simulation, re.MULTILINE)
    assert len(tables) == 3
    assert [table for table in tables if table.strip() not in printed.stdout] == []
    picture = (ROOT / "docs" / "scale.svg").read_text()
    assert report.digest(printed.stdout) in picture
    assert "](scale.svg)" in page


def test_another_seed_plays_other_requests() -> None:
    """And the same seed the same ones."""
    played = [report.play_pool(seed, 5, 0.5, requests=2_000).wait for seed in (1, 1, 2)]

    assert played[0] == played[1] != played[2]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--seed", "nan"),
        ("--seed", "-1"),
        ("--seed", "1_0"),
        ("--seed", "9" * 5000),
        ("--seed",),
        ("--out", "scale.txt"),
        ("--out", "/nowhere/scale.svg"),
        ("--out", ""),
        ("--speed", "9"),
        ("more",),
    ],
)
def test_nonsense_arguments_are_one_line(arguments: tuple[str, ...]) -> None:
    """Which names the argument."""
    refused = command(*arguments)

    assert refused.returncode == 2
    assert refused.stdout == ""
    assert refused.stderr.count("\n") == 1
    assert arguments[0] in refused.stderr
    assert len(refused.stderr) < 300


def test_a_picture_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """Before anything is played."""
    (tmp_path / "scale.svg").mkdir()
    refused = command("--out", str(tmp_path / "scale.svg"))

    assert refused.returncode == 2
    assert re.fullmatch(r"python -m benchmarks\.fleet: .*scale\.svg.*\n", refused.stderr)
