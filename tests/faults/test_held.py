"""What never answers, or answers late, holds no request for longer than the settings say."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import servers

from .conftest import Database, Serve
from .load import load, steadily
from .project import Setting
from .service import WITH_VIEWS, Answer, Service

OpenProxy = Callable[[int], servers.Proxy]

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


def warm(service: Service) -> None:
    """Have every connection of the pool used just now."""
    assert {answer.status for answer in load(lambda _: service.get(), 40)} == {200}


def ask(service: Service, number: int) -> Answer:
    """Read or write, in turn."""
    return service.get() if number % 2 else service.post(f"user {number}")


def test_a_frozen_server_holds_no_request_longer_than_its_timeouts(
    database: Database, share: Serve
) -> None:
    """SIGSTOP: its machine still acknowledges every packet, so that TCP notices nothing."""
    service = share(database.url(), *WITH_VIEWS, **ENOUGH)
    warm(service)

    with database.server.paused():
        answers = load(lambda n: ask(service, n), 8, 4)
    servers.wait_until(lambda: service.get().status == 200)

    assert [answer for answer in answers if not answer.is_honest] == []
    assert max(answer.seconds for answer in answers) < servers.paced(LONGEST)


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


@pytest.mark.skipif(not servers.can_silence(), reason="this system lets only root silence it")
def test_a_black_hole_holds_no_request_longer_than_its_timeouts(
    database: Database, serve: Serve, proxy: OpenProxy
) -> None:
    """The network swallows all packets, those of new connections too, and gives no error."""
    others = database.backends()
    between = proxy(database.server.port)
    service = serve(database.url(between.port), **ENOUGH)
    warm(service)

    between.silence()
    answers = load(lambda n: ask(service, n), 8, 4)
    if isinstance(database.server, servers.PostgreSQL):
        # the server gives them up too: by itself it would count them for two hours
        servers.wait_until(lambda: database.backends() <= others, 30)
    between.speak()

    assert [answer for answer in answers if not answer.is_honest] == []
    assert max(answer.seconds for answer in answers) < servers.paced(LONGEST)
    servers.wait_until(lambda: service.get().status == 200)


def test_readiness_answers_within_its_second_on_a_frozen_server(
    database: Database, share: Serve
) -> None:
    """A load balancer learns at once that this worker can't serve."""
    service = share(database.url(), *WITH_VIEWS, **ENOUGH)

    with database.server.paused():
        answers = [service.get("/healthz/ready") for _ in range(3)]

    assert [answer.status for answer in answers] == [503] * 3
    assert {answer.data["detail"] for answer in answers} == {"unreachable"}
    assert max(answer.seconds for answer in answers) < servers.paced(4)
    servers.wait_until(lambda: service.get("/healthz/ready").status == 200)


def test_a_statement_that_takes_too_long_is_ended(database: Database, share: Serve) -> None:
    """The server ends it, the client gets 503, and the connection lives on."""
    service = share(database.url(), *WITH_VIEWS, **ENOUGH)
    warm(service)

    slow = service.get("/probe/sleep?seconds=30")

    assert slow.is_clean_refusal
    assert STATEMENT - 0.5 < slow.seconds < servers.paced(LONGEST)
    warm(service)
    assert service.metric("db_client_connection_count", state="used") == 0
