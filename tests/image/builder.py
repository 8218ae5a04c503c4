"""Build a Dockerfile without a container engine and without a registry.

Everything happens in a private mount and process namespace: whatever ends the tests, no mount and
no process stays behind.
"""

from __future__ import annotations

import configparser
import hashlib
import json
import mmap
import os
import re
import ssl
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from servers.guard import kill_tree

PRIVATE = ("unshare", "--mount-proc", "--pid", "--fork", "--kill-child")
# the release whose Python is that of the Dockerfile's base
SUITE = "trixie"
PACKAGES = "python3,python3-pip"
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


class Builder:
    """Buildah with images of its own in a folder, which holds all that it ever writes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._bases: set[str] = set()
        self._options = [
            *("--root", str(folder / "images"), "--runroot", str(folder / "run")),
            *("--storage-driver", "vfs"),
        ]

    def run(self, *command: str) -> str:
        """Run a program that is ended with all of its own if this process ends."""
        with subprocess.Popen(
            [*PRIVATE, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ
            | {"TMPDIR": str(self.folder), "PATH": f"{os.environ['PATH']}:/usr/sbin"},
            start_new_session=True,
        ) as process:
            pid_file = self.folder / "pid"
            pid_file.write_text(str(process.pid))
            try:
                said = process.communicate(timeout=900)[0]
            finally:
                kill_tree(process.pid)
                pid_file.unlink()
        assert process.returncode == 0, f"{command} gave {process.returncode}:\n{said[-4000:]}"
        return said.strip()

    def buildah(self, *arguments: str) -> str:
        """Run buildah on the images of this folder and give what it says."""
        return self.run("buildah", *self._options, *arguments)

    def build(self, context: Path, name: str) -> Image:
        """Build the Dockerfile of a folder, with this machine's way to the package index."""
        self._need(base_of((context / "Dockerfile").read_text()))
        pip = self.folder / "pip.conf"
        pip.touch(mode=0o600)
        pip.write_text(_pip_settings())
        mounts = {str(pip): "/etc/pip.conf"}
        certificates = ssl.get_default_verify_paths().cafile
        if certificates:
            mounts[str(Path(certificates).resolve())] = CERTIFICATES
        volumes = [f"--volume={source}:{target}:ro" for source, target in mounts.items()]
        options = ["--isolation=chroot", "--pull-never", *volumes, f"--tag={name}"]
        self.buildah("bud", *options, str(context))
        archive = self.folder / f"{name}.tar"
        self.buildah("push", "--quiet", name, f"docker-archive:{archive}")
        return Image(archive, Path(self.buildah("mount", self.buildah("from", name))))

    def _need(self, base: str) -> None:
        """Make Debian with its Python, and call it by the name that a registry has for another."""
        if base not in self._bases:
            container = self.buildah("from", "scratch")
            self.buildah("add", "--quiet", container, str(self._base_archive()), "/")
            self.buildah("commit", "--quiet", "--rm", container, f"docker.io/library/{base}")
            self._bases.add(base)

    def _base_archive(self) -> Path:
        # tox names its own folder, which outlives a run
        key = hashlib.sha256(f"{SUITE} {PACKAGES}".encode()).hexdigest()[:12]
        kept = Path(os.environ.get("TOX_ENV_DIR", self.folder), f"base-{key}.tar")
        if not kept.exists():
            base, archive = self.folder / "base", self.folder / "base.tar"
            include = f"--include={PACKAGES},ca-certificates"
            self.run("debootstrap", "--variant=minbase", include, SUITE, str(base), _mirror())
            (base / "usr/bin/python").symlink_to("python3")
            (base / "etc/pip.conf").touch()
            unused = ("dev/*", "usr/share/doc", "usr/share/locale", "usr/share/man", "var/cache/*")
            without = [f"--exclude=./{path}" for path in (*unused, "var/lib/apt/*")]
            self.run("tar", "-C", str(base), *without, "-cf", str(archive), ".")
            partial = kept.with_suffix(f".{os.getpid()}")
            self.run("cp", str(archive), str(partial))
            partial.replace(kept)
        return kept


@dataclass(frozen=True)
class Image:
    """An image: as an archive, whose layers are not compressed, and as a tree of files."""

    archive: Path
    root: Path

    @property
    def config(self) -> dict[str, Any]:
        """Give what the image says about how to run it."""
        config: dict[str, Any] = self._json(self._manifest()["Config"])["config"]
        return config

    def own_files(self) -> dict[str, tarfile.TarInfo]:
        """Give every file and folder that the Dockerfile put on top of its base."""
        found: dict[str, tarfile.TarInfo] = {}
        with tarfile.open(self.archive) as archive:
            for layer in self._manifest()["Layers"][1:]:
                with tarfile.open(fileobj=archive.extractfile(layer)) as files:
                    found |= {member.name.removeprefix("./"): member for member in files}
        return found

    def holds(self, text: str) -> bool:
        """Tell whether a text is anywhere: in a file of a layer, the history, the environment."""
        with (
            self.archive.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            return data.find(text.encode()) >= 0

    def _manifest(self) -> dict[str, Any]:
        manifest: dict[str, Any] = self._json("manifest.json")[0]
        return manifest

    def _json(self, name: str) -> Any:
        with tarfile.open(self.archive) as archive:
            file = archive.extractfile(name)
            assert file is not None
            return json.load(file)


def base_of(dockerfile: str) -> str:
    """Give the name of the one image that a Dockerfile starts from."""
    (name,) = set(re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE))
    return str(name)


def _mirror() -> str:
    """Give this machine's mirror of Debian."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    mirrors = [line for line in done.stdout.split() if line.rstrip("/").endswith("/debian")]
    return next(iter(mirrors), "http://deb.debian.org/debian")


def _pip_settings() -> str:
    """Give what this machine says about where packages come from, for a pip elsewhere."""
    home = Path.home()
    files = [Path("/etc/pip.conf"), home / ".pip/pip.conf", home / ".config/pip/pip.conf"]
    parser = configparser.RawConfigParser()
    parser.read([*map(str, files), os.environ.get("PIP_CONFIG_FILE", os.devnull)])
    known = dict(parser["global"]) if parser.has_section("global") else {}
    names = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout")
    for name in names:
        variable = f"PIP_{name.upper().replace('-', '_')}"
        known[name] = os.environ.get(variable, known.get(name, ""))
    # a folder of this machine is not there
    lines = [
        f"{name} = {known[name]}" for name in names if known[name] and "file:" not in known[name]
    ]
    return "\n".join(["[global]", *lines, ""])
