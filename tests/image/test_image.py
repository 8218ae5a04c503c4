"""What the Dockerfile promises, looked up in the image that it makes and in what runs from it."""

from __future__ import annotations

import re
import signal

import pytest
from parses import parse

from .conftest import Built
from .container import Container, proc_file

pytestmark = pytest.mark.needs("buildah", "debootstrap")

SITE = "venv/lib/python3.13/site-packages"
ACCOUNTS = {"passwd", "group", "shadow", "gshadow", "subuid", "subgid"}
# what builds or installs
TOOLS = {"pip", "hatchling", "setuptools", "uv", "wheel", "gcc", "cc", "make", "git"}


def test_the_service_serves_on_a_root_that_is_read_only(built: Built, container: Container) -> None:
    """Alive, ready, and able to write and read, as the image says: its command, its user."""
    root = [line.split() for line in proc_file(container.first_process(), "mountinfo").splitlines()]
    assert ["ro" in line[5].split(",") for line in root if line[4] == "/"] == [True]
    assert container.get("/healthz/live").status == 200
    assert container.get("/healthz/ready").data == {"status": "ready"}
    assert container.get("/users").text == ""
    assert container.post("Alice").status == 201
    assert container.get("/users").text == "Alice"


def test_every_process_is_the_fixed_user_and_group_without_any_right(
    built: Built, container: Container
) -> None:
    """Numbers, since Kubernetes can tell of them alone that they are not root's."""
    assert built.image.config["User"] == "10001:10001"
    first = container.first_process()
    assert "gunicorn" in first.cmdline()[1]
    assert re.search(r"^NSpid:\s+\d+\s+1$", proc_file(first, "status"), re.MULTILINE)
    workers = first.children(recursive=True)
    assert len(workers) == 2
    for process in (first, *workers):
        assert set(process.uids()) | set(process.gids()) == {10001}
        status = proc_file(process, "status")
        assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)
        assert re.search(r"^Groups:\s+(10001)?\s*$", status, re.MULTILINE)


def test_sigterm_stops_it_within_the_time_that_compose_gives(
    built: Built, container: Container
) -> None:
    """Process 1 gets the signal itself, lets its workers end, and exits with 0."""
    compose = parse("compose.yaml", built.project.text("compose.yaml"))
    grace = int(compose["services"]["web"]["stop_grace_period"].removesuffix("s"))
    assert container.post("Alice").status == 201
    first = container.first_process()
    processes = [first, *first.children(recursive=True)]
    first.send_signal(signal.SIGTERM)
    assert container.process is not None
    assert container.process.wait(timeout=grace) == 0, container.log()
    assert not any(process.is_running() for process in processes)
    container.stop()
    container.start()
    assert container.get("/users").text == "Alice"


def test_the_health_check_of_compose_tells_a_living_service_from_a_dead_one(
    built: Built, container: Container
) -> None:
    """It is compose's, since the OCI format has no place for it in an image."""
    compose = parse("compose.yaml", built.project.text("compose.yaml"))
    kind, *command = compose["services"]["web"]["healthcheck"]["test"]
    assert kind == "CMD"
    alive = container.run(*command)
    assert alive.returncode == 0, alive.stdout
    container.stop()
    assert container.run(*command).returncode != 0


def test_no_secret_is_in_a_layer_the_history_or_the_environment(built: Built) -> None:
    """Not those of .env, nor any place for one."""
    secrets = built.secrets()
    assert "SECRET_KEY" in secrets
    assert ("COMPOSE_DATABASE_PASSWORD" in secrets) == (built.database != "sqlite")
    assert [name for name, value in secrets.items() if built.image.holds(value)] == []
    # what is there is found
    assert built.image.holds("def create_app(")
    assert built.image.holds("EXPOSE")
    names = {line.partition("=")[0] for line in built.image.config["Env"]}
    assert names == {"PATH", "PYTHONUNBUFFERED", "FLASK_APP", "HOST", "PORT"}


def test_the_image_holds_what_the_service_needs_and_nothing_else(built: Built) -> None:
    """No tests, no history, no tool that builds or installs."""
    files = {name for name, file in built.image.own_files().items() if not file.isdir()}
    outside = {name for name in files if not name.startswith("venv/")}
    accounts = {f"etc/{name}{old}" for name in ACCOUNTS for old in ("", "-")}
    assert outside - accounts == {"app/gunicorn.conf.py"}
    source = built.project.path / "src"
    package = {f"{SITE}/{path.relative_to(source)}" for path in source.rglob("*") if path.is_file()}
    own = {name for name in files if name.startswith(f"{SITE}/{built.project.slug}/")}
    assert {name for name in own if "/__pycache__/" not in name} == package
    found = {name.removeprefix(f"{SITE}/").removeprefix("venv/bin/") for name in files}
    assert {"flask", "gunicorn", "python"} <= found
    names = {name.partition("/")[0].partition("-")[0] for name in found}
    assert names & TOOLS == set()


def test_only_the_folder_of_the_database_can_be_written_by_the_service(built: Built) -> None:
    """All else is root's and closed to others; each file can be read by the service."""
    files = built.image.own_files()
    theirs = {name for name, file in files.items() if 10001 in (file.uid, file.gid)}
    assert theirs == {"app/instance"}
    plain = {name: file.mode for name, file in files.items() if not file.issym()}
    assert [name for name, mode in plain.items() if mode & 0o022] == []
    mine = [name for name in plain if name.startswith(("app/", "venv/"))]
    assert [name for name in mine if name not in theirs and not plain[name] & 0o004] == []
