"""compose.yaml, read by docker-compose; its pooler and its replica, without the containers."""

from __future__ import annotations

import shlex
from typing import Any

import psycopg
import pytest
import servers
import yaml
from bake import BakedProject
from conftest import Bake
from servers.postgres import programs
from servers.process import PASSWORD, USER, running

URLS = {
    "sqlite": "sqlite:///app.db",
    "postgresql": "postgresql://app:secret@db.example.com/shop",
    "mysql": "mysql://app:secret@db.example.com/shop",
}


def configured(project: BakedProject) -> dict[str, Any]:
    """Return compose.yaml as docker-compose understands it."""
    # version 2 leaves out what is in other profiles
    command = ["env", "COMPOSE_PROFILES=pooler,replica", "docker-compose", "config"]
    found = yaml.safe_load(project.run(*command).stdout)
    services: dict[str, Any] = found["services"]
    return services


def script(project: BakedProject, service: str) -> str:
    """Return what a service runs in its container's shell."""
    text: str = yaml.safe_load(project.text("compose.yaml"))["services"][service]["command"][0]
    return text.replace("$$", "$")


@pytest.mark.needs("docker-compose")
@pytest.mark.parametrize(
    ("family", "profiles"),
    [("sqlite", set[str]()), ("postgresql", {"pooler", "replica"}), ("mysql", {"replica"})],
)
def test_docker_compose_accepts_it(bake: Bake, family: str, profiles: set[str]) -> None:
    """What is not asked for is in a profile."""
    services = configured(bake(database_url=URLS[family]))
    assert {name for name, service in services.items() if "profiles" in service} == profiles
    assert {"web", "migrate"} <= services.keys()


@pytest.mark.needs("docker-compose")
def test_the_service_is_sent_to_the_pooler_and_the_replica(bake: Bake) -> None:
    """As .env.example says it, without a password written twice."""
    project = bake(database_url=URLS["postgresql"])
    plain = configured(project)["web"]["environment"]
    example = project.text(".env.example").partition("COMPOSE_DATABASE_PASSWORD=\n")[2]
    lines = [line.removeprefix("# ") for line in example.splitlines() if "=" in line]
    with (project.path / ".env").open("a") as file:
        file.write("\n".join([*lines, ""]))
    sent = configured(project)["web"]["environment"]

    password = plain["COMPOSE_DATABASE_PASSWORD"]
    login = f"postgresql+psycopg://app:{password}@"
    assert plain["SQLALCHEMY_DATABASE_URI"] == f"{login}database/app"
    assert (plain["SQLALCHEMY_EXTERNAL_POOLER"], plain["SQLALCHEMY_REPLICA_URIS"]) == ("none", "")
    assert sent["SQLALCHEMY_DATABASE_URI"] == f"{login}pooler:6432/app"
    assert sent["SQLALCHEMY_EXTERNAL_POOLER"] == "pgbouncer"
    assert sent["SQLALCHEMY_REPLICA_URIS"] == f"{login}replica/app"


class Pooler(servers.PgBouncer):
    """The pooler, run as compose.yaml runs it."""

    script = ""

    def command(self) -> list[str]:
        """Give the shell's command line; place and user are the test's own."""
        own = self.script.replace("/etc/pgbouncer", str(self.folder)).replace('"app', f'"{USER}')
        return ["sh", "-ec", f"export PASSWORD={shlex.quote(PASSWORD)}\n{own}"]


class Replica(servers.PostgreSQL):
    """The replica, run as compose.yaml runs it."""

    def __init__(self, primary: servers.PostgreSQL, script: str) -> None:
        self.primary, self.script = primary, script
        super().__init__({})

    def fill(self) -> None:
        """Leave that to the script."""

    def command(self) -> list[str]:
        """Give the shell's command line; places and user are the test's own."""
        variables = {
            "PATH": f"{programs()}:/usr/bin:/bin",
            "PGPASSWORD": PASSWORD,
            "PGDATA": str(self.folder / "data"),
            "PGPORT": str(self.primary.port),
            "PGDATABASE": "postgres",
        }
        exports = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
        own = self.script.replace("=database", f"={self.primary.host}").replace("=app", f"={USER}")
        options = f"postgres -c port={self.port} -c unix_socket_directories= "
        return ["sh", "-ec", "\n".join([*exports, own.replace("exec postgres", f"exec {options}")])]


def count(server: servers.PostgreSQL) -> int:
    """Count the tables of a server."""
    found: int = server.rows("SELECT count(*) FROM pg_class WHERE relkind = 'r'")[0]["count"]
    return found


@pytest.mark.needs("postgresql")
def test_the_replica_makes_itself_and_follows(bake: Bake) -> None:
    """Of a database as it is; started again it goes on from there."""
    own = script(bake(database_url=URLS["postgresql"]), "replica")
    with servers.postgresql() as primary, running(Replica(primary, own)) as replica:
        for name in ("before", "after"):
            primary.rows(f"CREATE TABLE {name} AS SELECT 7 AS note")
            servers.wait_until(lambda: count(replica) == count(primary))
            replica.restart()
        assert replica.rows("SELECT pg_is_in_recovery() AS standby") == [{"standby": True}]
        rules = primary.rows("SELECT * FROM pg_hba_file_rules WHERE address = 'all'")
        assert [(rule["database"], rule["error"]) for rule in rules] == [(["replication"], None)]


@pytest.mark.needs("postgresql", "pgbouncer")
def test_the_pooler_takes_the_shipped_settings(bake: Bake, postgresql: servers.PostgreSQL) -> None:
    """A client logs in with the password of .env, and is limited by a timeout."""
    project = bake(database_url=URLS["postgresql"])
    shipped = project.text("ops/pgbouncer.ini").replace(
        "host=database port=5432", f"host=127.0.0.1 port={postgresql.port}"
    )
    pooler = Pooler(postgresql, {}, shipped)
    (pooler.folder / "users.txt").unlink()
    pooler.script = script(project, "pooler").replace("userlist.txt", "users.txt")
    with running(pooler), psycopg.connect(pooler.dsn(), autocommit=True) as connection:
        row = connection.execute("SHOW statement_timeout").fetchone()
    assert row == ("30s",)
