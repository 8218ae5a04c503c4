"""What the documentation shows works: commands, code, names of settings, links."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import psycopg
import pytest
import servers
import uv
from bake import ROOT
from flask import Flask
from flask_pool import Pool, settings
from flask_sqlalchemy import SQLAlchemy
from installing import make_environment

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([\w./-]+\.(?:md|png|svg))(?:#([\w-]+))?\)")
SETTING = re.compile(r"`((?:SQLALCHEMY|POOL)_[A-Z_]+)")
# keys of Flask-SQLAlchemy itself
OTHERS = {"SQLALCHEMY_ENGINE_OPTIONS", "SQLALCHEMY_BINDS"}


def blocks(page: Path, language: str) -> list[str]:
    """Return the blocks of a page in this language."""
    return [text for found, text in BLOCK.findall(page.read_text("utf-8")) if found == language]


class Shell:
    """Runs the commands of a page, in a folder and an environment of its own."""

    def __init__(self, folder: Path, template: Path) -> None:
        self.folder, self.template = folder, template
        self.python = make_environment(folder / "environment")
        self.port = free_port()
        self.environ = os.environ | {
            "PATH": f"{Path(self.python).parent}{os.pathsep}{os.environ['PATH']}",
            "PORT": str(self.port),
        }

    def run(self, block: str) -> None:
        """Run each line; a server is asked once, and stopped."""
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            match words:
                case ["pip", "install", *packages]:
                    self.install(*packages)
                case ["cookiecutter", _]:
                    self.call(sys.executable, "-m", *words[:1], "--no-input", str(self.template))
                case ["cd", name]:
                    self.folder /= name
                case ["make", "run"]:
                    self.serve(*words, path="/users")
                case _:
                    self.call(*words)

    def install(self, *packages: str) -> None:
        """Install packages, and this library from here."""
        places = [re.sub(r"^flask-pool", str(ROOT), name) for name in packages]
        command = [uv.find_uv_bin(), "pip", "install", "--quiet", "--python", self.python]
        subprocess.run([*command, *places], check=True, timeout=300)

    def call(self, *command: str) -> str:
        """Run a command, which has to succeed, and return what it printed."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=servers.paced(60),
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def serve(self, *command: str, path: str) -> str:
        """Start a server, return what it answers, and stop it."""
        found: list[str] = []

        def answers() -> bool:
            assert process.poll() is None, f"{command} has ended"
            found.extend(answer(f"http://127.0.0.1:{self.port}{path}"))
            return bool(found)

        process = subprocess.Popen(command, cwd=self.folder, env=self.environ)
        try:
            servers.wait_until(answers, 300, pause=0.2)
        finally:
            process.terminate()
            process.wait(60)
        return found[0]


def answer(url: str) -> list[str]:
    """Return what is at a URL, nothing while nobody answers."""
    try:
        with urlopen(url, timeout=30) as response:  # noqa: S310
            return [response.read().decode()]
    except (URLError, ConnectionError):
        return []


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


@pytest.fixture
def shell(tmp_path: Path, template: Path) -> Shell:
    """Return a shell in an empty folder."""
    return Shell(tmp_path, template)


@pytest.mark.project
def test_the_commands_of_the_template_work(shell: Shell) -> None:
    """From a bake to a service that answers."""
    for block in blocks(ROOT / "docs" / "start.md", "shell"):
        shell.run(block)


@pytest.mark.project
def test_the_commands_for_an_application_work(shell: Shell) -> None:
    """Installed from nothing, in an application of the code that is shown."""
    page = ROOT / "docs" / "add.md"
    code = {text.partition("\n")[0]: text for text in blocks(page, "python")}
    factory = code["from flask import Flask"]
    (shell.folder / "app.py").write_text(factory)
    (shell.folder / "gunicorn.conf.py").write_text(code["# gunicorn.conf.py"])
    for block in blocks(page, "shell"):
        shell.run(block)
    for block in blocks(ROOT / "docs" / "operation.md", "shell"):
        shell.run(block)

    # all else that the page tells to add
    health, errors = code["from flask_pool import health"], code["@app.errorhandler(503)"]
    added = factory.replace("    return app\n", indented(f"{health}\n{errors}\nreturn app\n"))
    (shell.folder / "app.py").write_text(added)
    shell.install("flask-pool[gunicorn]")
    bind = f"--bind=127.0.0.1:{shell.port}"
    assert "ready" in shell.serve("gunicorn", bind, "app:create_app()", path="/healthz/ready")


def test_the_readme_shows_commands_of_these_pages() -> None:
    """So they are run."""
    run = "".join("".join(blocks(page, "shell")) for page in PAGES[1:])

    assert [text for text in blocks(ROOT / "README.md", "shell") if text not in run] == []


def test_a_password_that_changes_is_asked_for(postgresql: servers.PostgreSQL) -> None:
    """The recipe for tokens connects after the old password has ended."""
    name = postgresql.create_database()
    url = postgresql.url(name).replace("+psycopg", "")
    (recipe,) = (
        text
        for text in blocks(ROOT / "docs" / "deployment.md", "python")
        if "use_fresh_password" in text
    )
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE ROLE rotating LOGIN PASSWORD 'first'")
        app, db = Flask(__name__), SQLAlchemy()
        host, port = connection.info.host, connection.info.port
        app.config["SQLALCHEMY_DATABASE_URI"] = (
            f"postgresql+psycopg://rotating@{host}:{port}/{name}"
        )
        tokens: list[str] = ["first"]
        names = {"app": app, "db": db, "pool": Pool(), "fetch_token": lambda: tokens[-1]}
        try:
            exec(recipe, names)  # noqa: S102
            assert asked(app, db) == "rotating"
            connection.execute("ALTER ROLE rotating PASSWORD 'second'")
            tokens.append("second")
            with app.app_context():
                db.engine.dispose()
            assert asked(app, db) == "rotating"
        finally:
            with app.app_context():
                db.engine.dispose()
            connection.execute("DROP ROLE rotating")


def asked(app: Flask, db: SQLAlchemy) -> Any:
    """Return the user that a new session connects as."""
    with app.app_context():
        return db.session.scalar(db.text("SELECT session_user"))


def indented(code: str) -> str:
    """Return code as the body of a function."""
    return "".join(f"    {line}" if line.strip() else line for line in code.splitlines(True))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_can_be_read(page: Path) -> None:
    """Each block of Python compiles."""
    for text in blocks(page, "python"):
        compile(text, page.name, "exec")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_settings_are_there(page: Path) -> None:
    """Each setting that a page names is one."""
    named = set(SETTING.findall(page.read_text("utf-8")))

    assert named - settings.SETTINGS.keys() - OTHERS == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """To a file that is there, and to a heading of it."""
    for name, anchor in LINK.findall(page.read_text("utf-8")):
        target = page.parent / name
        assert target.is_file(), name
        assert not anchor or anchor in headings(target), f"{name}#{anchor}"


def headings(page: Path) -> set[str]:
    """Return the anchors of a page, as GitHub makes them."""
    found = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in found}


def test_the_table_of_settings_is_the_one_of_the_code(tmp_path: Path) -> None:
    """Building the documentation changes nothing in it."""
    for name in ("conf.py", "settings.md"):
        shutil.copy(ROOT / "docs" / name, tmp_path)
    page = (tmp_path / "settings.md").read_text("utf-8")
    subprocess.run([sys.executable, str(tmp_path / "conf.py")], check=True, env=with_source())

    assert (tmp_path / "settings.md").read_text("utf-8") == page
    assert [name for name in settings.SETTINGS if f"| `{name}` |" not in page] == []


def with_source() -> dict[str, str]:
    """Return an environment in which this library is found."""
    return os.environ | {"PYTHONPATH": str(ROOT / "src")}


def test_the_readme_is_short() -> None:
    """A reader sees where to begin."""
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 120
