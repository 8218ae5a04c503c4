"""The library's wheel in the template: what the source builds, under a version of its own."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENDOR = ROOT / "{{cookiecutter.project_slug}}" / "vendor"
VERSION_FILE = ROOT / "src" / "flask_pool" / "__init__.py"
VERSION = re.compile(r'^__version__ = "(.*)"$', re.MULTILINE)


def build(folder: Path, source: Path = ROOT) -> Path:
    """Build the wheel of a source into a folder."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
    subprocess.run(
        [*command, "--directory", str(folder)], cwd=source, check=True, capture_output=True
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


def locked(wheel: Path) -> str:
    """Return the line of `vendor/lock.txt` for a wheel."""
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return f"./vendor/{wheel.name} --hash=sha256:{digest}\n"


def following(version: str) -> str:
    """Return the development version that follows a version."""
    release, _, number = version.partition(".dev")
    if number:
        return f"{release}.dev{int(number) + 1}"
    *first, last = release.split(".")
    return ".".join([*first, str(int(last) + 1)]) + ".dev1"


def main() -> None:
    """Renew the wheel and its lock; raise the version if the wheel would be another one."""
    VENDOR.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        wheel = build(Path(folder))
        before = VENDOR / wheel.name
        if before.is_file() and before.read_bytes() != wheel.read_bytes():
            # pip keeps an installed one of the same version
            text = VERSION_FILE.read_text("utf-8")
            VERSION_FILE.write_text(
                VERSION.sub(lambda found: f'__version__ = "{following(found[1])}"', text), "utf-8"
            )
            wheel.unlink()
            wheel = build(Path(folder))
        for old in VENDOR.glob("*.whl"):
            if old.name != wheel.name:
                old.unlink()
        target = VENDOR / wheel.name
        target.write_bytes(wheel.read_bytes())
    (VENDOR / "lock.txt").write_text(locked(target), "utf-8", newline="\n")
    print(target.relative_to(ROOT))


def check(folder: Path, tag: str) -> None:
    """Fail unless what was built for a tag is what the template carries, and nothing else."""
    (wheel,), (source,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    (vendored,) = VENDOR.glob("*.whl")
    found = VERSION.search(VERSION_FILE.read_text("utf-8"))
    version = found[1] if found else ""
    assert tag in ("", f"v{version}"), f"{tag} is not the tag of {version}"
    assert wheel.name == vendored.name, f"{wheel.name} is not in the template: make wheel"
    assert wheel.read_bytes() == vendored.read_bytes(), "the template has another wheel: make wheel"
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    own = (".gitignore", "CHANGELOG.md", "LICENSE", "PKG-INFO", "pyproject.toml")
    others = {name for name in names if name not in own and not name.startswith("src/flask_pool/")}
    assert not others, f"no part of the library: {others}"


if __name__ == "__main__":
    if sys.argv[1:2] == ["check"]:
        check(Path(sys.argv[2]), *[*sys.argv[3:], ""][:1])
    else:
        main()
