"""The two suites: how each is bent to the pool, and how it is run."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

INSIDE = Path(__file__).parent / "inside"

PYTEST = (
    "pytest",
    *("-p", "no:cacheprovider", "-p", "no:xdist", "--tb=short"),
    # a test that hangs ends the run, and the stack of each thread is shown
    *("-o", "faulthandler_timeout=60", "-o", "faulthandler_exit_on_timeout=true"),
)

# Flask-SQLAlchemy's tests leave their engines open, and Python warns of it since 3.13
UNCLOSED = ("-W", "ignore:unclosed database:ResourceWarning")
# tests of SQLAlchemy that the pool may fail, each with the reason
LEFT_OUT = {
    "QueuePoolTest::test_unlimited": "it asks for unlimited overflow, which the pool refuses",
    "QueuePoolTest::test_waiters_handled": "it asks for unlimited overflow and endless waiting",
    "QueuePoolTest::test_notify_waiters": "it asks for endless waiting",
}
# settings of the process that starts the tests, which would reach the pool or the inner pytest
PRIVATE = ("DATABASE_URL", "FLASK_", "POOL_", "PYTEST_", "PYTHON", "SQLALCHEMY_", "VIRTUAL_ENV")


@dataclass(frozen=True)
class Outcome:
    """What a run said of each test: how long it took, and whether it passed."""

    seconds: dict[str, float]
    failed: frozenset[str]
    skipped: frozenset[str]

    @property
    def passed(self) -> set[str]:
        """Give the tests that ran and passed."""
        return set(self.seconds) - self.failed - self.skipped


def pool_tests(source: Path, package: str) -> list[str]:
    """Put the package's pool class into SQLAlchemy's tests; give the arguments of pytest."""
    text = (source / "test/engine/test_pool.py").read_text()
    for name in LEFT_OUT:
        method = name.partition("::")[2]
        assert f"def {method}(" in text, f"SQLAlchemy has no {method} any more"
    bent = text.replace("pool.QueuePool(", "FairQueuePool(")
    assert bent.count("FairQueuePool(") > 10, "SQLAlchemy's tests are written in another way now"
    tests = "test/engine/test_fair_queue_pool.py"
    (source / tests).write_text(f"from {package} import FairQueuePool\n{bent}")
    return [tests, *(f"--deselect={tests}::{name}" for name in LEFT_OUT)]


def plain_tests(source: Path, package: str) -> list[str]:
    """Give the arguments of pytest for Flask-SQLAlchemy's tests as they are."""
    return [*UNCLOSED, "--tb=no", "tests"]


def extension_tests(source: Path, package: str) -> list[str]:
    """Give the arguments of pytest for Flask-SQLAlchemy's tests with the pool switched on."""
    return [*UNCLOSED, "-p", "switched_on", "tests"]


def command(python: str, arguments: list[str]) -> list[str]:
    """Give the command that runs tests in a source's folder."""
    return [python, "-m", *PYTEST, *arguments]


def environment(package: str, *paths: str) -> dict[str, str]:
    """Give the variables of such a run: SQLAlchemy as it is installed, and nobody's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PRIVATE)}
    own = {
        "PEERS_PACKAGE": package,
        "PYTHONDONTWRITEBYTECODE": "1",
        # without it SQLAlchemy's tests run on the source beside them
        "PYTHONNOUSERSITE": "1",
        "PYTHONPATH": os.pathsep.join([str(INSIDE), *paths]),
    }
    return kept | own


def run(
    python: str, source: Path, arguments: list[str], package: str, seconds: float = 600
) -> Outcome:
    """Run tests in a source's folder and read what came of each."""
    report = source / "report.xml"
    report.unlink(missing_ok=True)
    done = subprocess.run(
        command(python, [*arguments, f"--junitxml={report}"]),
        cwd=source,
        env=environment(package),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    print(done.stdout[-20_000:], done.stderr[-5_000:])  # shown when the test fails
    assert report.exists(), f"pytest ended early, with {done.returncode}"
    assert done.returncode in {0, 1}, f"pytest ended with {done.returncode}"
    return read(report)


def read(report: Path) -> Outcome:
    """Read pytest's report."""
    seconds: dict[str, float] = {}
    marked: dict[str, set[str]] = {"failed": set(), "skipped": set()}
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 - pytest wrote it
        name = f"{case.get('classname')}::{case.get('name')}"
        seconds[name] = seconds.get(name, 0) + float(case.get("time", 0))
        if case.find("failure") is not None or case.find("error") is not None:
            marked["failed"].add(name)
        elif case.find("skipped") is not None:
            marked["skipped"].add(name)
    return Outcome(seconds, frozenset(marked["failed"]), frozenset(marked["skipped"]))
