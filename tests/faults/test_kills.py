"""Every backend is killed, again and again, while the service is under load."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import servers

from .conftest import Database, Serve
from .load import REQUESTS, every, load, statuses
from .service import Answer

pytestmark = pytest.mark.examples

KILLS = 3  # at least


def load_under_kills(database: Database, ask: Callable[[int], Answer]) -> list[Answer]:
    """Send requests while every backend is killed twice a second, less often on a busy machine."""
    with every(servers.paced(0.5), database.kill) as kills:
        answers = load(ask, REQUESTS)
        while sum(map(bool, kills)) < KILLS:
            answers += load(ask, 100, first=len(answers))
    return answers


def test_no_read_fails(database: Database, serve: Serve) -> None:
    """A dead connection is replaced, or the read run once more: 0 fail, however many die."""
    service = serve(database.url())

    answers = load_under_kills(database, lambda _: service.get())

    assert statuses(answers) == {200: len(answers)}
    replaced = service.metric("db_client_connection_replaced_total", reason="dead")
    assert replaced + service.metric("db_client_request_retries_total") > 0


def test_each_write_is_done_once_or_refused(database: Database, serve: Serve) -> None:
    """Each 201 is in the table exactly once; every other answer is a 503, and is not.

    But one: of a connection that died while COMMIT was on its way nobody can know.
    """
    service = serve(database.url())

    answers = load_under_kills(database, lambda number: service.post(f"user {number}"))

    assert set(statuses(answers)) <= {201, 503}
    doubtful = {f"user {number}" for number, answer in enumerate(answers) if answer.is_in_doubt}
    assert all(answer.status == 201 or answer.is_honest for answer in answers)
    created = Counter(answer.data["name"] for answer in answers if answer.status == 201)
    found = Counter(database.names())
    assert created - found == Counter()
    assert set(found - created) <= doubtful
    assert max(found.values()) == 1
    assert sum(created.values()) > len(answers) / 2
