"""The page docs/scale.md, and the command that plays it."""

from __future__ import annotations

import json
import re
import subprocess
import sys

from bake import FOLDER, ROOT

from benchmarks import fleet


def test_the_model_has_the_defaults_of_the_product() -> None:
    """Those of the prompts, and of a new project's settings."""
    prompts = json.loads((ROOT / "cookiecutter.json").read_text())
    defaults = (ROOT / FOLDER / "src" / FOLDER / "defaults.toml").read_text()

    assert int(prompts["pool_size"]) == fleet.POOL_SIZE
    assert f"WEB_CONCURRENCY = {fleet.WORKERS}\n" in defaults


def test_the_page_and_the_picture_show_what_the_command_prints() -> None:
    """Each table of the page's simulation; the picture names what each step carries."""
    line = [sys.executable, "-m", "benchmarks.fleet"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    page = (ROOT / "docs" / "scale.md").read_text("utf-8")
    simulation = page.partition("## The simulation")[2]

    assert re.findall(r"(?:^\|.*\|$\n)+", simulation, re.MULTILINE) == [
        f"{table.strip()}\n" for table in done.stdout.split("\n\n")
    ]
    picture = (ROOT / "docs" / "scale.svg").read_text("utf-8")
    carried = [f"{step.name}: {fleet.most_instances(step):,}" for step in fleet.LADDER]
    assert [text for text in carried if text not in picture] == []
    assert "](scale.svg)" in page
