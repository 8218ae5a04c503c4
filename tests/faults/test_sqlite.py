"""SQLite in a file, shared by the processes and threads of one service."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from .conftest import Serve
from .load import load
from .project import Project, Setting
from .service import WITH_VIEWS

# an application that follows SQLAlchemy's recipe for BEGIN IMMEDIATE
WITH_IMMEDIATE = (*WITH_VIEWS[:-1], "views:create_immediate_app()")
DRIVER_WAITS = 5  # seconds for another connection's lock
WRITERS = 8
WRITES = 320
SPREAD: dict[str, Setting] = {"WEB_CONCURRENCY": 4, "WEB_THREADS": 4}
ONE_WORKER: dict[str, Setting] = {"WEB_CONCURRENCY": 1, "WEB_THREADS": 4}


@pytest.fixture(scope="module")
def migrated(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a database file with the schema, to copy."""
    path = tmp_path_factory.mktemp("sqlite") / "app.db"
    project.migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def file(migrated: Path, tmp_path: Path) -> Path:
    """Give a database file with the schema."""
    file = tmp_path / "app.db"
    shutil.copy(migrated, file)
    return file


@pytest.mark.parametrize(
    ("application", "path"),
    [
        pytest.param(WITH_VIEWS, "/probe/add_in_sql", id="in SQL"),
        pytest.param(WITH_IMMEDIATE, "/probe/read_modify_write", id="BEGIN IMMEDIATE"),
    ],
)
def test_no_acknowledged_update_is_lost(
    file: Path, serve: Serve, application: tuple[str, ...], path: str
) -> None:
    """Eight clients add one at once, in four processes; the driver gives up after 5 s."""
    service = serve(f"sqlite:///{file}", *application, **SPREAD)
    service.post("0")

    answers = load(lambda _: service.request("POST", path), WRITES, WRITERS)

    saved = [answer for answer in answers if answer.status == 200]
    refused = [answer for answer in answers if answer.status != 200]
    assert service.get().text == str(len(saved))
    assert len(saved) >= WRITES * 0.9
    assert all(answer.is_clean_refusal for answer in refused), refused
    assert all(answer.data["reason"] == "conflict" for answer in refused), refused
    assert all(answer.seconds > DRIVER_WAITS * 0.9 for answer in refused), refused
    counted = service.metric("db_client_request_unavailable_total", reason="conflict")
    assert counted == len(refused)


def test_readers_do_not_wait_for_a_writer(file: Path, serve: Serve) -> None:
    """WAL: who reads while somebody writes sees what was there before."""
    service = serve(f"sqlite:///{file}", **ONE_WORKER)
    service.post("Alice")

    writer = sqlite3.connect(file, isolation_level=None)
    assert writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("INSERT INTO users (name) VALUES ('Bob')")
    during = load(lambda _: service.get(), 20)
    writer.execute("COMMIT")
    writer.close()

    assert {answer.text for answer in during} == {"Alice"}
    assert service.get().text == "Alice,Bob"


def test_a_writer_that_keeps_its_lock_is_503(file: Path, serve: Serve) -> None:
    """After the driver's timeout, in one clean answer, and the pool is whole."""
    service = serve(f"sqlite:///{file}?timeout=0.5", **ONE_WORKER)

    writer = sqlite3.connect(file, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    refused = service.post("Alice")
    writer.execute("ROLLBACK")
    writer.close()

    assert refused.is_clean_refusal
    assert 0.4 < refused.seconds < DRIVER_WAITS
    assert service.post("Alice").status == 201
    assert service.get().text == "Alice"


def test_foreign_keys_are_enforced(file: Path, serve: Serve) -> None:
    """On every connection of the pool."""
    service = serve(f"sqlite:///{file}", *WITH_VIEWS, **ONE_WORKER)

    answers = load(lambda _: service.get("/probe/foreign_keys"), 40)

    assert {answer.text for answer in answers} == {'{"on":1}\n'}
