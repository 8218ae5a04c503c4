"""Migrations of an application that uses the library, on each database."""

from __future__ import annotations

import subprocess
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import fixtures_servers
import pytest
import servers
from flask_migrate import check, current, downgrade, migrate, stamp, upgrade
from sqlalchemy import create_engine, exc
from sqlalchemy.pool import NullPool

from flask_pool import migrations

from .migrating import LIMIT, Folder, application, applied, deployment, rows

USERS = 'op.create_table("users", Column("id", Integer, primary_key=True), Column("n", Integer))'
PETS = 'op.create_table("pets", Column("id", Integer, primary_key=True))'
BLOCK = """
    with op.get_context().autocommit_block():
        op.execute("{statement}")
"""
CONCURRENTLY = BLOCK.format(statement="CREATE INDEX CONCURRENTLY ix_users_n ON users (n)")
SLEEP = {"postgresql": "SELECT pg_sleep({})", "mysql": "DO SLEEP({})"}


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Give an empty folder of migrations."""
    return Folder(tmp_path / "migrations")


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """Give the URL of a file of SQLite that is not there yet."""
    return f"sqlite:///{tmp_path / 'app.db'}"


@pytest.fixture
def postgresql_url(postgresql: servers.PostgreSQL) -> str:
    """Give the URL of an empty database of PostgreSQL."""
    return postgresql.url(postgresql.create_database())


@pytest.fixture
def mariadb_url(mariadb: servers.MariaDB) -> str:
    """Give the URL of an empty database of MariaDB."""
    return mariadb.url(mariadb.create_database())


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def url(request: pytest.FixtureRequest) -> str:
    """Give the URL of an empty database of each kind."""
    found: str = request.getfixturevalue(f"{request.param}_url")
    return found


@pytest.fixture(params=["postgresql", "mariadb"])
def server_url(request: pytest.FixtureRequest) -> str:
    """Give the URL of an empty database on each server."""
    found: str = request.getfixturevalue(f"{request.param}_url")
    return found


@pytest.fixture
def pooled_url(postgresql: servers.PostgreSQL) -> Iterator[str]:
    """Give the URL of an empty database behind PgBouncer, whose role limits its statements."""
    fixtures_servers.require("pgbouncer")
    name = postgresql.create_database()
    postgresql.rows(f"ALTER DATABASE {name} SET statement_timeout = {int(LIMIT * 1000)}")
    with servers.pgbouncer(postgresql, default_pool_size=3) as bouncer:
        yield bouncer.url(name)


def tables(url: str) -> set[str]:
    """Tell which tables there are."""
    kind = url.partition(":")[0].partition("+")[0]
    query = {
        "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table'",
        "postgresql": "SELECT tablename FROM pg_tables WHERE schemaname = 'public'",
        "mysql": "SHOW TABLES",
    }
    return {row[0] for row in rows(url, query[kind])} - {"alembic_version"}


def versions(url: str) -> list[str]:
    """Tell which versions the database says that it has."""
    return [row[0] for row in rows(url, "SELECT version_num FROM alembic_version")]


@pytest.mark.parametrize("per_migration", [False, True])
def test_each_way_that_a_schema_goes(url: str, folder: Folder, per_migration: bool) -> None:
    """Alembic's commands do what they do elsewhere."""
    folder.add("one", USERS, downgrade=['op.drop_table("users")'])
    folder.add("two", PETS, downgrade=['op.drop_table("pets")'])

    with application(url, folder, migrate={"transaction_per_migration": per_migration}):
        upgrade()
        assert tables(url) == {"users", "pets"}
        downgrade()
        assert tables(url) == {"users"}
        assert versions(url) == ["one"]
        upgrade(revision="+1")
        assert tables(url) == {"users", "pets"}
        stamp(revision="one")
        assert versions(url) == ["one"]
        stamp(revision="two")
        downgrade(revision="base")
        assert tables(url) == set()
        assert versions(url) == []


def test_an_upgrade_says_what_it_did(
    url: str, folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line for each revision, or that there is none."""
    folder.add("one", USERS)

    with application(url, folder):
        upgrade()
        first = capsys.readouterr().out
        upgrade()
        second = capsys.readouterr().out

    assert first == "database: upgraded to one: \n"
    assert second == "database: nothing to do\n"


@pytest.mark.parametrize("per_migration", [False, True])
def test_a_failed_migration_leaves_what_alembic_promises(
    url: str, folder: Folder, per_migration: bool
) -> None:
    """Nothing where DDL is transactional, SQLite included; what each migration did otherwise."""
    folder.add("one", USERS)
    folder.add("two", PETS, 'op.execute("INSERT INTO nowhere VALUES (1)")')

    options = {"transaction_per_migration": per_migration}
    with application(url, folder, migrate=options), pytest.raises(exc.DBAPIError):
        upgrade()

    if url.startswith("mysql"):
        assert tables(url) == {"users", "pets"}
        assert versions(url) == ["one"]
    elif per_migration:
        assert tables(url) == {"users"}
        assert versions(url) == ["one"]
    else:
        assert tables(url) == set()


@pytest.mark.parametrize("per_migration", [False, True])
def test_autocommit_block(url: str, folder: Folder, per_migration: bool) -> None:
    """What comes before it is committed, what comes after it is in a transaction again."""
    folder.add("one", USERS, BLOCK.format(statement="CREATE INDEX ix ON users (n)"))
    folder.add(
        "two",
        BLOCK.format(statement="INSERT INTO users VALUES (1, 1)"),
        'op.execute("INSERT INTO users VALUES (2, 2)")',
        'op.execute("INSERT INTO nowhere VALUES (3)")',
    )

    options = {"transaction_per_migration": per_migration}
    with application(url, folder, migrate=options), pytest.raises(exc.DBAPIError):
        upgrade()

    assert rows(url, "SELECT id FROM users") == [(1,)]
    assert versions(url) == ["one"]


def test_what_can_only_be_done_outside_of_a_transaction(
    postgresql_url: str, folder: Folder
) -> None:
    """A value is added to a type, used, and an index is built while others work."""
    folder.add(
        "one",
        """
        op.execute("CREATE TYPE mood AS ENUM ('sad')")
        op.execute("CREATE TABLE users (n integer, mood mood DEFAULT 'sad')")
        with op.get_context().autocommit_block():
            op.execute("ALTER TYPE mood ADD VALUE 'happy'")
        op.execute("INSERT INTO users VALUES (1, 'happy')")
        """,
    )
    folder.add("two", CONCURRENTLY)

    with application(postgresql_url, folder):
        upgrade()

    assert rows(postgresql_url, "SELECT mood::text FROM users") == [("happy",)]
    assert valid_indexes(postgresql_url) == {"ix_users_n"}


def valid_indexes(url: str) -> set[str]:
    """Tell which indexes were built."""
    query = "SELECT indexrelid::regclass::text FROM pg_index WHERE indisvalid AND"
    return {row[0] for row in rows(url, f"{query} indrelid = 'users'::regclass")}


def test_no_statement_limit(server_url: str, folder: Folder) -> None:
    """Neither in a transaction, nor in autocommit_block() and after it."""
    slow = SLEEP[server_url.partition("+")[0]].format(2 * LIMIT)
    own = f'op.execute("{slow}")'
    folder.add("one", own, BLOCK.format(statement=slow), own, USERS)
    folder.add("two", own)

    with application(server_url, folder) as app:
        upgrade()
        db = app.extensions["sqlalchemy"]
        # whose own statements are limited as before, also on the pool's one connection
        with db.engine.connect() as connection, pytest.raises(exc.OperationalError):
            connection.exec_driver_sql(slow.replace("DO", "SELECT"))

    assert versions(server_url) == ["two"]


@contextmanager
def held(url: str, *statements: str) -> Iterator[None]:
    """Keep a transaction open that began with these statements."""
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
        yield


# a migration that ends when a file is there, and says when it begins
PAUSE = """
    import time
    from pathlib import Path
    Path({begun!r}).touch()
    while not Path({go!r}).exists():
        time.sleep(0.05)
"""


class Pause:
    """Where a migration stops until the test lets it go on."""

    def __init__(self, folder: Path) -> None:
        self.begun, self.go = folder / "begun", folder / "go"
        self.code = PAUSE.format(begun=str(self.begun), go=str(self.go))

    def reached(self) -> bool:
        """Tell whether a migration is there."""
        return self.begun.exists()


@pytest.fixture
def pause(tmp_path: Path) -> Pause:
    """Give a place for a migration to stop."""
    return Pause(tmp_path)


def test_deployments_at_once_apply_each_migration_once(url: str, folder: Folder) -> None:
    """Three that all find an empty schema end well, and one of them did the work."""
    folder.add("one", USERS, "import time", "time.sleep(0.5)")
    folder.add("two", BLOCK.format(statement="INSERT INTO users VALUES (1, 1)"))
    folder.add("three", 'op.execute("INSERT INTO users VALUES (2, 2)")')

    with ExitStack() as stack:
        started = [stack.enter_context(deployment(url, folder)) for _ in range(3)]
        done = [applied(one) for one in started]

    assert sorted(done) == [[], [], ["one", "two", "three"]]
    assert versions(url) == ["three"]
    assert rows(url, "SELECT id FROM users ORDER BY id") == [(1,), (2,)]


@pytest.mark.parametrize("per_migration", [False, True])
def test_the_turn_is_kept_in_and_after_autocommit_block(
    url: str, folder: Folder, pause: Pause, tmp_path: Path, per_migration: bool
) -> None:
    """A second deployment waits, although the first one's transaction has ended."""
    (tmp_path / "later").mkdir()
    later = Pause(tmp_path / "later")
    body = textwrap.indent(textwrap.dedent(pause.code), "    ")
    folder.add("one", USERS, "with op.get_context().autocommit_block():", body, later.code)
    given = {"migrate": {"transaction_per_migration": per_migration}}

    with deployment(url, folder, **given) as first, deployment(url, folder, **given) as second:
        servers.wait_until(pause.reached)
        with pytest.raises(subprocess.TimeoutExpired):
            second.wait(2)
        pause.go.touch()
        servers.wait_until(later.reached)
        with pytest.raises(subprocess.TimeoutExpired):
            second.wait(2)
        later.go.touch()

        assert sorted([applied(first), applied(second)]) == [[], ["one"]]


def test_an_index_is_built_concurrently_among_busy_clients_and_deployments(
    postgresql_url: str, folder: Folder, pause: Pause
) -> None:
    """It waits for transactions that read the table, longer than for a table; not for its turn."""
    folder.add("one", USERS)
    folder.add("two", pause.code, CONCURRENTLY)
    with application(postgresql_url, folder):
        upgrade(revision="one")

    with deployment(postgresql_url, folder) as first:
        servers.wait_until(pause.reached)
        with deployment(postgresql_url, folder) as second:
            with held(postgresql_url, "INSERT INTO users VALUES (1, 1)"):
                pause.go.touch()
                with pytest.raises(subprocess.TimeoutExpired):
                    first.wait(migrations.LOCK_TIMEOUT + 2)

            assert applied(first) == ["two"]
            assert applied(second) == []
    assert valid_indexes(postgresql_url) >= {"ix_users_n"}


def test_a_table_is_waited_for_and_not_for_ever(
    url: str, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A migration that queues up for a busy table would stop all who come after it."""
    monkeypatch.setattr(migrations, "LOCK_TIMEOUT", 1)
    folder.add("one", USERS)
    folder.add("two", 'op.add_column("users", Column("m", Integer))')
    with application(url, folder):
        upgrade(revision="one")
        with (
            held(url, "INSERT INTO users VALUES (1, 1)"),
            pytest.raises(exc.OperationalError, match=r"lock timeout|Lock wait|locked"),
        ):
            upgrade()

        upgrade()

    assert versions(url) == ["two"]
