"""Fixtures for the servers, and an honest account of what was left out without them."""

import signal
from collections.abc import Callable, Iterator

import pytest
import servers

SERVERS = ("postgresql", "mariadb", "pgbouncer")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the length of the soak run; without it there is none."""
    parser.addoption("--soak", type=float, metavar="SECONDS", help="run the soak tests so long")


def pytest_configure() -> None:
    """Let servers hear SIGQUIT, which a shell has its jobs in the background ignore."""
    number = getattr(signal, "SIGQUIT", None)
    if number is not None and signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests that use a server, and choose either the soak tests or all others."""
    soaking = config.getoption("--soak") is not None
    left_out = [item for item in items if soaking != bool(item.get_closest_marker("soak"))]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    # what takes longest begins first, so that at the end no process waits for another
    items.sort(key=lambda item: item.path.name != "test_project.py")
    for item in items:
        names = getattr(item, "fixturenames", ())
        if item.get_closest_marker("needs") or any(name in SERVERS for name in names):
            item.add_marker("servers")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose programs are missing, or fail it where nothing may be left out."""
    for marker in item.iter_markers("needs"):
        for program in marker.args:
            require(program)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which tests were left out and how to include them."""
    skipped = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])]
    counts = {
        reason: sum(reason in text for text in skipped)
        for reason in servers.missing_programs().values()
    }
    lines = [f"{count} tests: {reason}" for reason, count in counts.items() if count]
    if lines:
        terminalreporter.section("left out")
        for line in [*lines, servers.HOW_TO_INCLUDE]:
            terminalreporter.line(line)


def require(program: str) -> None:
    """Go on only if a program is there."""
    reason = servers.missing_programs().get(program)
    if reason and servers.REQUIRE_ALL:
        pytest.fail(reason, pytrace=False)
    if reason:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[servers.PostgreSQL]:
    """Give this worker's PostgreSQL; a test that pauses or stops it must set it right again."""
    require("postgresql")
    with servers.postgresql() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[servers.MariaDB]:
    """Give this worker's MariaDB."""
    require("mariadb")
    with servers.mariadb() as server:
        yield server


@pytest.fixture(scope="session")
def pgbouncer(postgresql: servers.PostgreSQL) -> Iterator[servers.PgBouncer]:
    """Give this worker's PgBouncer, in transaction mode, in front of its PostgreSQL."""
    require("pgbouncer")
    with servers.pgbouncer(postgresql) as server:
        yield server


@pytest.fixture
def proxy() -> Iterator[Callable[[int], servers.Proxy]]:
    """Give a function that puts a proxy in front of a port; all are closed after the test."""
    opened: list[servers.Proxy] = []

    def open_proxy(port: int) -> servers.Proxy:
        opened.append(servers.Proxy(port).__enter__())
        return opened[-1]

    yield open_proxy
    for one in opened:
        one.__exit__(None, None, None)


@pytest.fixture(scope="session")
def soak_seconds(request: pytest.FixtureRequest) -> float:
    """Give the length of the soak run."""
    return float(request.config.getoption("--soak"))
