"""How a project gets the library: from the wheel that it carries, whatever an index offers."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zlib
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

import pytest
import uv
import wheel
from bake import FOLDER, ROOT, BakedProject, bake_into, git
from flask_pool import __version__
from servers import wait_until
from servers.guard import kill_tree
from servers.workshop import free_port

UV = uv.find_uv_bin()
VENDORED = ROOT / FOLDER / "vendor"
NAME = f"flask_pool-{__version__}-py3-none-any.whl"
PYTHON = f"py{sys.version_info.major}{sys.version_info.minor}"
PATIENCE = 600  # seconds for a command; the deadline only ends a run that would never end


@dataclass(frozen=True)
class Checkout:
    """A project with no environment yet, where an index offers a newer library of that name."""

    project: BakedProject
    environ: dict[str, str]

    def run(self, *command: str, succeeds: bool = True) -> str:
        """Run a command in the project's folder, and return what it prints."""
        done = subprocess.run(
            command,
            cwd=self.project.path,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        assert (done.returncode == 0) is succeeds, f"{command}: {done.stdout}"
        return done.stdout

    def venv(self) -> str:
        """Make an environment with pip, and return its interpreter."""
        self.run(sys.executable, "-m", "venv", ".venv")
        return str(self.project.path / ".venv" / "bin" / "python")

    def assert_library(self, python: str = ".venv/bin/python") -> None:
        """Fail unless the library is the one that the project carries."""
        code = "import flask_pool; print(flask_pool.__version__)"
        assert self.run(python, "-c", code).split() == [__version__]


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return variables that make pip and uv look where a higher version of the library lies."""
    folder = tmp_path_factory.mktemp("hostile")
    page = folder / "simple" / "flask-pool"
    page.mkdir(parents=True)
    file = page / "flask_pool-99.0-py3-none-any.whl"
    info = "flask_pool-99.0.dist-info"
    with ZipFile(file, "w") as archive:
        archive.writestr("flask_pool/__init__.py", '__version__ = "99.0"\n')
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: flask-pool\nVersion: 99.0\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    (page / "index.html").write_text(f'<a href="{file.name}">{file.name}</a>')
    known = os.environ.get("PIP_FIND_LINKS", "")
    return {
        "PIP_FIND_LINKS": f"{known} {page}".strip(),
        "PIP_EXTRA_INDEX_URL": (folder / "simple").as_uri(),
        "UV_FIND_LINKS": str(page),
        "UV_INDEX": (folder / "simple").as_uri(),
    }


@pytest.fixture
def checkout(template: Path, tmp_path: Path, hostile: dict[str, str]) -> Checkout:
    """Return a fresh checkout, in a folder with a space in its name."""
    project = bake_into(tmp_path / "my services", template)
    foreign = ("TOX", "VIRTUAL_ENV", "PYTHONPATH", "FLASK_", "SQLALCHEMY_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return Checkout(project, kept | hostile)


# the wheel


def test_the_wheel_in_the_template_is_what_the_source_builds(tmp_path: Path) -> None:
    """Byte for byte, and locked with its hash. If this fails: `make wheel`."""
    built, (vendored,) = wheel.build(tmp_path), VENDORED.glob("*.whl")

    assert built.name == vendored.name == NAME
    with ZipFile(built) as new, ZipFile(vendored) as old:
        assert new.namelist() == old.namelist()
        assert [name for name in new.namelist() if new.read(name) != old.read(name)] == []
    if "ng" not in zlib.ZLIB_RUNTIME_VERSION:  # which compresses in another way
        assert built.read_bytes() == vendored.read_bytes()
    assert (VENDORED / "lock.txt").read_text("utf-8") == wheel.locked(vendored)


def test_another_wheel_has_another_version() -> None:
    """pip keeps an installed one of the same version, and says nothing."""
    changed = ("log", "--diff-filter=M", "--format=", "--name-only", "--", f"{FOLDER}/vendor/*.whl")
    assert git(ROOT, *changed) == ""


@pytest.mark.parametrize(
    ("version", "next_one"),
    [("1.1.0.dev9", "1.1.0.dev10"), ("1.1.0", "1.1.1.dev1"), ("1.1", "1.2.dev1")],
)
def test_what_follows_a_version(version: str, next_one: str) -> None:
    """Another development version, or the first one after a release."""
    assert wheel.following(version) == next_one


def test_the_wheel_is_built_with_one_version_of_its_tool() -> None:
    """What the tests build with is what pip would take."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert settings["dependency-groups"]["wheel"] == settings["build-system"]["requires"]
    assert re.fullmatch(r"hatchling==[\d.]+", *settings["build-system"]["requires"])


def test_the_wheel_holds_no_file_that_is_no_part_of_the_library() -> None:
    """Its typing is known, its license is there, nothing was left behind by a tool."""
    with ZipFile(VENDORED / NAME) as archive:
        names = set(archive.namelist())
    assert {"flask_pool/py.typed", "flask_pool/ops/templates/flask_pool/pool.html"} <= names
    assert f"flask_pool-{__version__}.dist-info/licenses/LICENSE" in names
    tracked = git(ROOT, "ls-files", "-z", "src").split("\0")
    source = {name.removeprefix("src/") for name in tracked if name} - {"flask_pool/README.md"}
    assert {name for name in names if ".dist-info/" not in name} <= source


# a fresh project


@pytest.mark.project
@pytest.mark.parametrize("tool", ["uv", pytest.param("pip", marks=pytest.mark.repeat)])
def test_an_editable_install_takes_the_wheel(checkout: Checkout, tool: str) -> None:
    """With nothing else said."""
    if tool == "uv":
        checkout.run(UV, "venv", "--quiet", "--python", sys.executable, ".venv")
        checkout.run(UV, "pip", "install", "--python", ".venv/bin/python", "-e", ".")
    else:
        checkout.run(checkout.venv(), "-m", "pip", "install", "-e", ".")
    checkout.assert_library()


@pytest.mark.project
def test_make_run_serves_from_nothing(checkout: Checkout) -> None:
    """It makes its environment, installs, migrates and serves."""
    port = free_port()
    environ = checkout.environ | {"PORT": str(port), "FLASK_DEBUG": "0"}
    environ["SECRET_KEY"] = "only-for-these-tests"

    def users() -> bytes | None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", "/users")
            return connection.getresponse().read()
        except OSError:
            return None
        finally:
            connection.close()

    log = checkout.project.path.parent / "log"
    with log.open("w") as file:
        process = subprocess.Popen(
            ["make", "run"], cwd=checkout.project.path, env=environ,
            stdin=subprocess.DEVNULL, stdout=file, stderr=file,
        )  # fmt: skip
    try:
        wait_until(lambda: users() == b"" or process.poll() is not None, PATIENCE)
        assert process.poll() is None, log.read_text()
    finally:
        kill_tree(process.pid)
        process.wait()
    checkout.assert_library()


@pytest.mark.repeat
@pytest.mark.project
def test_make_test_and_tox_test_from_nothing(checkout: Checkout) -> None:
    """In the environment that the Makefile makes, and in those of tox."""
    assert " passed" in checkout.run("make", "test")
    checkout.assert_library()
    assert " passed" in checkout.run(".venv/bin/tox", "run", "-e", PYTHON)
    checkout.assert_library(f".tox/{PYTHON}/bin/python")


# the lock


def test_the_lock_begins_with_the_wheel(default_project: BakedProject) -> None:
    """By a line of its own, which `cruft update` brings while it leaves the lock alone."""
    assert default_project.text("requirements.txt").startswith("-r vendor/lock.txt\n")
    assert "\nflask-pool" not in default_project.text("requirements.txt")
    digest = re.escape(wheel.locked(VENDORED / NAME))
    assert re.fullmatch(digest, default_project.text("vendor/lock.txt"))


@pytest.mark.project
@pytest.mark.parametrize("tool", ["uv", pytest.param("pip", marks=pytest.mark.repeat)])
def test_the_lock_takes_the_wheel_with_its_hash(checkout: Checkout, tool: str) -> None:
    """And no other; the service's own wheel is installed after it, alone."""
    python = checkout.venv()
    install = (
        [UV, "pip", "install", "--python", python]
        if tool == "uv"
        else [python, "-m", "pip", "install"]
    )
    strictly = ["--require-hashes", "--only-binary", ":all:", "-r", "requirements.txt"]
    vendored = checkout.project.path / "vendor" / NAME
    good = vendored.read_bytes()

    vendored.write_bytes(good + b"\0")
    assert "hash" in checkout.run(*install, *strictly, succeeds=False).lower()
    vendored.write_bytes(good)
    checkout.run(*install, *strictly)
    checkout.run(*install, "--no-deps", ".")

    checkout.assert_library()
    checkout.run(python, "-m", "pip", "check")
    checkout.run(".venv/bin/flask", "--app", checkout.project.slug, "--debug", "routes")


@pytest.mark.project
def test_once_an_index_has_the_library_vendor_may_go(checkout: Checkout, tmp_path: Path) -> None:
    """Delete the folder, change one line, run make lock: the lock names the library as others."""
    index = tmp_path / "index"
    index.mkdir()
    shutil.move(checkout.project.path / "vendor" / NAME, index)
    shutil.rmtree(checkout.project.path / "vendor")
    settings = checkout.project.path / "pyproject.toml"
    text = re.sub(r'"(flask-pool\[.*\]) @ .*"', rf'"\1=={__version__}"', settings.read_text())
    settings.write_text(text)
    tools = checkout.project.path / ".venv" / "bin"
    tools.mkdir(parents=True)
    (tools / "uv").symlink_to(UV)
    (tools / "python").symlink_to(sys.executable)
    own = Checkout(checkout.project, checkout.environ | {"UV_FIND_LINKS": str(index)})

    own.run("make", "lock")

    lock = checkout.project.text("requirements.txt")
    assert f"\nflask-pool=={__version__} \\\n    --hash=sha256:" in lock
    assert "vendor" not in lock
    own.run("make", "--dry-run", "run")
