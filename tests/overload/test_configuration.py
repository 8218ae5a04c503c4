"""`gunicorn.conf.py` of a project: settings, `.env`, and what SIGHUP does."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from bake import ROOT
from servers.workshop import free_port

from .service import INSIDE, Service, wait_for

CONFIGURATION = ROOT / "{{cookiecutter.project_slug}}" / "gunicorn.conf.py"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a folder with a service, its `.env` and the template's gunicorn.conf.py."""
    shutil.copytree(INSIDE / "service", tmp_path / "service")
    shutil.copy(CONFIGURATION, tmp_path)
    (tmp_path / "service" / "defaults.toml").write_text("WEB_CONCURRENCY = 1\n")
    (tmp_path / ".flaskenv").write_text("FLASK_APP=service\n")
    write(tmp_path)
    return tmp_path


def write(project: Path, **values: str) -> None:
    """Write `.env`, with what it always has."""
    always = {"SECRET_KEY": "k" * 32, "DATABASE_URL": "sqlite:///app.db", "GREETING": "hello"}
    lines = [f"{name}={value}\n" for name, value in (always | values).items()]
    (project / ".env").write_text("".join(lines))


def environment(gunicorn: str, project: Path) -> dict[str, str]:
    """Return an environment for a server of this project."""
    path = os.pathsep.join([gunicorn, str(ROOT / "src"), str(project)])
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FLASK_")}
    return kept | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


@contextmanager
def running(project: Path, gunicorn: str, *options: str) -> Iterator[Service]:
    """Run gunicorn in the project, as production does."""
    port, log = free_port(), project / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", *options],
            cwd=project, stderr=file, env=environment(gunicorn, project) | {"PORT": str(port)},
        )  # fmt: skip
    service = Service(process, port, log)
    try:
        wait_for(lambda: service.get()[0] == 200)
        yield service
    finally:
        process.terminate()
        process.wait(30)


def said(service: Service) -> list[str]:
    """Return what the service was started with."""
    return list(json.loads(service.get()[1]))


def test_sighup_serves_new_code_and_new_values(project: Path, gunicorn: str) -> None:
    """The master loads nothing of the service and keeps nothing of `.env`."""
    with running(project, gunicorn) as service:
        assert said(service) == ["first", "hello", None]
        code = project / "service" / "__init__.py"
        code.write_text(code.read_text().replace('"first"', '"second"'))
        write(project, GREETING="bye", SQLALCHEMY_POOL_SIZE="3")
        service.signal(signal.SIGHUP)
        wait_for(lambda: said(service) == ["second", "bye", "3"])


def test_sighup_with_a_wrong_value_keeps_the_settings(project: Path, gunicorn: str) -> None:
    """New workers get the values that were accepted last."""
    with running(project, gunicorn) as service:
        write(project, GREETING="bye", SQLALCHEMY_POOL_SIZE="many")
        service.signal(signal.SIGHUP)
        wait_for(lambda: "not reloaded" in service.log.read_text())
        wait_for(lambda: service.log.read_text().count("Booting worker") == 2)
        wait_for(lambda: said(service) == ["first", "hello", None])
        assert "SQLALCHEMY_POOL_SIZE: 'many' is not accepted" in service.log.read_text()


def test_preload_reads_dotenv_too(project: Path, gunicorn: str) -> None:
    """The application is made in the master, with what `.env` sets."""
    with running(project, gunicorn, "--preload") as service:
        assert said(service) == ["first", "hello", None]


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"WEB_THREADS": "0"}, "WEB_THREADS: '0' is not accepted; use a whole number"),
        ({"POOL_QUEUE_TARGET": "-1"}, "POOL_QUEUE_TARGET: '-1' is not accepted; use seconds"),
        ({"DATABASE_URL": "nonsense://x"}, "DATABASE_URL: "),
        ({"SECRET_KEY": "change-me"}, "SECRET_KEY: missing, a placeholder or too short"),
    ],
)
def test_a_wrong_value_stops_the_start_with_one_line(
    project: Path, gunicorns: dict[str, str], values: dict[str, str], line: str
) -> None:
    """The line names the variable, the value and what is accepted."""
    write(project, **values)
    done = subprocess.run(
        [sys.executable, "-m", "gunicorn"], cwd=project, capture_output=True, text=True,
        env=environment(gunicorns["27.0.1"], project), timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == 1


def test_the_configuration_is_short() -> None:
    """It names things of the library, and holds no logic."""
    assert len(CONFIGURATION.read_text().splitlines()) <= 30
