"""SQLite in a file, shared by the processes and threads of one service."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .conftest import Serve
from .load import load
from .project import Project, Setting
from .service import WITH_VIEWS

# an application that follows SQLAlchemy's recipe for BEGIN IMMEDIATE
WITH_IMMEDIATE = (*WITH_VIEWS[:-1], "views:create_immediate_app()")
WRITERS = 8
WRITES = 320
SPREAD: dict[str, Setting] = {"WEB_CONCURRENCY": 4, "WEB_THREADS": 4}


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
    assert all(answer.seconds > 4.5 for answer in refused), refused
    counted = service.metric("db_client_request_unavailable_total", reason="conflict")
    assert counted == len(refused)
