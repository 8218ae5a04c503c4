"""What never answers, or answers late, holds no request for longer than the settings say."""

from __future__ import annotations

import servers

from .conftest import Database, Serve
from .load import steadily
from .project import Setting
from .service import WITH_VIEWS, Answer, Service

# libpq takes a connect timeout of less than two seconds for two
CONNECT, STATEMENT = 2, 2
LONGEST = CONNECT + STATEMENT + 1 + 2  # two more for the test machine

# as many connections as threads: a request that waits for another one waits longer
ENOUGH: dict[str, Setting] = {
    "WEB_CONCURRENCY": 1,
    "WEB_THREADS": 4,
    "SQLALCHEMY_POOL_SIZE": 4,
    "SQLALCHEMY_CONNECT_TIMEOUT": CONNECT,
    "SQLALCHEMY_STATEMENT_TIMEOUT": STATEMENT,
}


def ask(service: Service, number: int) -> Answer:
    """Read or write, in turn."""
    return service.get() if number % 2 else service.post(f"user {number}")


def test_a_server_that_freezes_under_load_holds_no_request_longer(
    database: Database, share: Serve
) -> None:
    """Statements on their way when the server freezes are given up too."""
    service = share(database.url(), *WITH_VIEWS, **ENOUGH)

    with steadily(lambda n: ask(service, n), 4) as answers:
        servers.wait_until(lambda: len(answers) > 50)
        with database.server.paused():
            before = len(answers)
            servers.wait_until(lambda: len(answers) > before + 10, 60)
        servers.wait_until(lambda: service.get().status == 200)

    assert all(a.status in (200, 201) or a.is_honest for a in answers)
    assert max(answer.seconds for answer in answers) < servers.paced(LONGEST)
    created = [answer.data["name"] for answer in answers if answer.status == 201]
    assert set(created) <= set(database.names())
    assert len(database.names()) == len(set(database.names()))
