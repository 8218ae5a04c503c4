"""The alert rules and the dashboard, read by Prometheus' own tool."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from bake import BakedProject

pytestmark = pytest.mark.needs("promtool")


def promtool(folder: Path, *arguments: str, check: bool = True) -> str:
    """Run promtool and give what it says."""
    done = subprocess.run(
        ["promtool", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    said = done.stdout + done.stderr
    assert (done.returncode == 0) is check, said
    return said


@pytest.fixture
def ops(default_project: BakedProject, tmp_path: Path) -> Path:
    """Give a copy of what the project has for operators."""
    for file in (default_project.path / "ops").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def test_the_rules_are_right(ops: Path) -> None:
    """By `promtool check rules`."""
    assert "10 rules found" in promtool(ops, "check", "rules", "alerts.yml")


def test_every_alert_does_what_it_is_for(ops: Path) -> None:
    """By `promtool test rules`; each alert has a test in which it fires."""
    promtool(ops, "test", "rules", "alerts_test.yml")

    rules = yaml.safe_load((ops / "alerts.yml").read_text())["groups"][0]["rules"]
    fires = set(
        re.findall(r"- labels: ALERTS.alertname=\"(\w+)", (ops / "alerts_test.yml").read_text())
    )
    assert fires == {rule["alert"] for rule in rules}


def test_every_query_of_the_dashboard_can_be_asked(ops: Path) -> None:
    """Written as rules, with Grafana's variables filled in, all of them parse."""
    dashboard = json.loads((ops / "dashboard.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(queries) > 15
    rules = [
        {"record": f"query{number}", "expr": query.replace("$__rate_interval", "1m")}
        for number, query in enumerate(queries)
    ]
    (ops / "queries.yml").write_text(yaml.safe_dump({"groups": [{"name": "q", "rules": rules}]}))

    said = promtool(ops, "check", "rules", "queries.yml")

    assert f"{len(queries)} rules found" in said


def test_the_panels_do_not_overlap(ops: Path) -> None:
    """Each place of Grafana's grid of 24 columns is taken once."""
    panels = json.loads((ops / "dashboard.json").read_text())["panels"]
    places = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(places)) == len(places)
    assert max(x for x, _ in places) < 24
    assert len({panel["id"] for panel in panels}) == len(panels)
