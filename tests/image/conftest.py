"""The two images that the tests look at, and services that run from them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import servers
from bake import BakedProject, bake_into
from dotenv import dotenv_values
from servers.process import running
from servers.workshop import make_folder

from .builder import PRIVATE, Builder, Image
from .container import Container

PASSWORD = "a-password-of-nobody"
URLS = {
    "sqlite": "sqlite:///app.db",
    "postgresql": f"postgresql://app:{PASSWORD}@127.0.0.1/app",
}


@dataclass(frozen=True)
class Built:
    """A baked project, the image that its Dockerfile makes, and the database it asks for."""

    project: BakedProject
    image: Image
    database: str

    def secrets(self) -> dict[str, str]:
        """Give what nobody may find in the image."""
        settings = dotenv_values(self.project.path / ".env")
        found = {name: str(settings[name]) for name in settings if name.endswith(("KEY", "WORD"))}
        return found | ({"password": PASSWORD} if self.database != "sqlite" else {})


@pytest.fixture(scope="session")
def builder() -> Builder:
    """Give a builder, or leave out the test where none can work."""
    reason = None
    if os.geteuid() != 0:
        reason = "building an image needs root: sudo .venv/bin/tox run -e image"
    elif subprocess.run([*PRIVATE, "true"], check=False, capture_output=True).returncode:
        reason = "building an image needs a kernel that lets root mount"
    if reason and servers.REQUIRE_ALL:
        pytest.fail(reason, pytrace=False)
    if reason:
        pytest.skip(reason)
    return Builder(make_folder("image", {}))


@pytest.fixture(scope="session", params=list(URLS))
def built(
    request: pytest.FixtureRequest,
    builder: Builder,
    template: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Built:
    """Give the image of a project on SQLite, then that of one on PostgreSQL."""
    database = request.param
    project = bake_into(
        tmp_path_factory.mktemp("image"),
        template,
        project_slug=f"on_{database}",
        database_url=URLS[database],
    )
    return Built(project, builder.build(project.path, project.slug), database)


@pytest.fixture
def container(built: Built, request: pytest.FixtureRequest) -> Iterator[Container]:
    """Give the image's service, on an empty database with the schema."""
    settings = {"SECRET_KEY": "only-for-the-image-tests"}
    if built.database == "postgresql":
        server = request.getfixturevalue("postgresql")
        settings["SQLALCHEMY_DATABASE_URI"] = server.url(server.create_database())
    container = Container(built.image, settings)
    migrated = container.run("flask", "db", "upgrade")
    assert migrated.returncode == 0, migrated.stdout
    with running(container):
        yield container
