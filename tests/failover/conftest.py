"""What the tests of fail-over share: the installed project, and a table of what they saw."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import servers
from faults.project import Project, install
from faults.service import Service
from servers.process import running

from .outage import HEADER, Clients

MakeClients = Callable[[str, str, str], Clients]
BehindHAProxy = Callable[[str, dict[str, str]], servers.HAProxy]

MEASURED = "fail-over"
_rows: list[str] = []


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark every test of this folder: it installs the baked project."""
    if Path(item.path).parent == Path(__file__).parent:
        item.add_marker("project")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what was measured, by whichever worker."""
    rows = [
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", "") == "teardown"
        for name, value in report.user_properties
        if name == MEASURED
    ]
    if rows:
        terminalreporter.section("fail-over")
        for line in [*HEADER.splitlines(), *rows]:
            terminalreporter.line(line)


@pytest.fixture(autouse=True)
def _measured(record_property: Callable[[str, object], None]) -> Iterator[None]:
    yield
    while _rows:
        record_property(MEASURED, _rows.pop(0))


@pytest.fixture(scope="session")
def project(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Give the baked and installed project."""
    return install(tmp_path_factory.mktemp("failover"), template)


@pytest.fixture(scope="module")
def clients(project: Project) -> Iterator[MakeClients]:
    """Give a function that starts the service on a URL; stopped after the module's tests."""
    with ExitStack() as stack:

        def start(name: str, url: str, database: str) -> Clients:
            service = stack.enter_context(running(Service(project, url)))
            return Clients(service, database, name, _rows)

        yield start


@pytest.fixture(scope="module")
def behind_haproxy(project: Project) -> Iterator[BehindHAProxy]:
    """Give a function that runs HAProxy on the project's own file, with servers of the test.

    It takes the name of a section, and for each server its label and address with options.
    """
    with ExitStack() as stack:

        def start(section: str, addresses: dict[str, str]) -> servers.HAProxy:
            text = (project.path / "ops" / "haproxy.cfg").read_text()
            defaults, *sections = re.split(r"(?m)^(?=listen )", text)
            mine = next(part for part in sections if part.startswith(f"listen {section}\n"))
            mine = re.sub(r"(?m)^( +server .*|#.*)\n", "", mine)
            mine = re.sub(r"bind .*", "bind 127.0.0.1:PORT", mine).rstrip()
            lines = [f"    server {name} {address}" for name, address in addresses.items()]
            return stack.enter_context(servers.haproxy("\n".join([defaults, mine, *lines, ""])))

        yield start
