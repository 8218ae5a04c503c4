"""Migrations of an application that uses the library, on each database."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic

import fixtures_servers
import flask_migrate
import pytest
import servers
from flask_migrate import current, downgrade, stamp, upgrade
from flask_pool import schema_changes
from sqlalchemy import create_engine, event, exc
from sqlalchemy.pool import NullPool

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

    def wait(self, *deployments: subprocess.Popen[str]) -> None:
        """Wait until a deployment is there."""
        servers.wait_until(
            lambda: self.begun.exists() or any(one.poll() is not None for one in deployments)
        )
        assert self.begun.exists(), [one.communicate()[0] for one in deployments]


@pytest.fixture
def pause(tmp_path: Path) -> Pause:
    """Give a place for a migration to stop."""
    return Pause(tmp_path)


def wait_for_one_of(*deployments: subprocess.Popen[str]) -> None:
    """Wait two seconds for the first that ends."""
    servers.wait_until(lambda: any(one.poll() is not None for one in deployments), 2)


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
    block = "with op.get_context().autocommit_block():" + pause.code
    folder.add("one", USERS, block, later.code)
    given = {"migrate": {"transaction_per_migration": per_migration}}

    with deployment(url, folder, **given) as first, deployment(url, folder, **given) as second:
        pause.wait(first, second)
        with pytest.raises(TimeoutError):
            wait_for_one_of(first, second)
        pause.go.touch()
        later.wait(first, second)
        with pytest.raises(TimeoutError):
            wait_for_one_of(first, second)
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
        pause.wait(first)
        with deployment(postgresql_url, folder) as second:
            with held(postgresql_url, "INSERT INTO users VALUES (1, 1)"):
                pause.go.touch()
                with pytest.raises(subprocess.TimeoutExpired):
                    first.wait(schema_changes.LOCK_TIMEOUT + 2)

            assert applied(first) == ["two"]
            assert applied(second) == []
    assert valid_indexes(postgresql_url) >= {"ix_users_n"}


def test_a_table_is_waited_for_and_not_for_ever(
    url: str, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A migration that queues up for a busy table would stop all who come after it."""
    monkeypatch.setattr(schema_changes, "LOCK_TIMEOUT", 1)
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


def test_behind_pgbouncer(pooled_url: str, folder: Folder) -> None:
    """The turn is kept there too, and a transaction has no statement limit."""
    sleep = f'op.execute("SELECT pg_sleep({2 * LIMIT})")'
    folder.add("one", USERS, sleep, CONCURRENTLY, sleep)
    folder.add("two", 'op.execute("INSERT INTO users VALUES (1, 1)")', sleep)

    config = {"SQLALCHEMY_EXTERNAL_POOLER": "pgbouncer"}
    with ExitStack() as stack:
        started = [
            stack.enter_context(deployment(pooled_url, folder, config=config)) for _ in range(3)
        ]
        done = [applied(one) for one in started]

    assert sorted(done) == [[], [], ["one", "two"]]
    assert valid_indexes(pooled_url) >= {"ix_users_n"}
    # nothing was set that another client of the same server connection would have
    for _ in range(10):
        assert rows(pooled_url, "SHOW statement_timeout") == [(f"{int(LIMIT * 1000)}ms",)]
        assert rows(pooled_url, "SHOW lock_timeout") == [("0",)]


def test_each_bind_is_migrated(url: str, folder: Folder, tmp_path: Path) -> None:
    """By upgrade_<bind>, which may be missing; the default one by upgrade."""
    other = f"sqlite:///{tmp_path / 'other.db'}"
    more = """

    def upgrade_other_one():
        op.create_table("things", Column("id", Integer, primary_key=True))


    def downgrade_other_one():
        op.drop_table("things")
    """
    folder.add("one", USERS, downgrade=['op.drop_table("users")'], more=more)
    folder.add("two", PETS, downgrade=['op.drop_table("pets")'])

    with application(url, folder, binds={"other-one": other}):
        upgrade()
        assert (tables(url), tables(other)) == ({"users", "pets"}, {"things"})
        assert versions(other) == ["two"]
        downgrade(revision="base")
        assert (tables(url), tables(other)) == (set(), set())


def test_revisions_of_flask_migrates_template_for_binds(
    sqlite_url: str, folder: Folder, tmp_path: Path
) -> None:
    """`upgrade(engine_name)` calls `upgrade_` for the default database."""
    more = """

    def upgrade(engine_name):
        globals()["upgrade_%s" % engine_name]()


    def upgrade_():
        op.create_table("users", Column("id", Integer, primary_key=True))


    def upgrade_other():
        op.create_table("things", Column("id", Integer, primary_key=True))
    """
    other = f"sqlite:///{tmp_path / 'other.db'}"
    folder.add("one", more=more)

    with application(sqlite_url, folder, binds={"other": other}):
        upgrade()

    assert (tables(sqlite_url), tables(other)) == ({"users"}, {"things"})


def test_flask_migrates_own_environment(url: str, tmp_path: Path, one_line_changed: str) -> None:
    """Its env.py needs one other line."""
    folder = Folder(tmp_path / "migrations", one_line_changed)
    slow = SLEEP.get(url.partition("+")[0], "SELECT 1").replace("{}", str(2 * LIMIT))
    folder.add("one", USERS, f'op.execute("{slow}")')
    folder.add("two", BLOCK.format(statement="INSERT INTO users VALUES (1, 1)"))

    with ExitStack() as stack:
        started = [stack.enter_context(deployment(url, folder)) for _ in range(2)]
        said = [one.communicate(timeout=120)[0] for one in started]

    assert [one.returncode for one in started] == [0, 0], said
    assert rows(url, "SELECT id FROM users") == [(1,)]


@pytest.fixture
def one_line_changed() -> str:
    """Give Flask-Migrate's env.py with the line that the documentation names."""
    template = Path(flask_migrate.__file__).parent / "templates" / "flask" / "env.py"
    text = template.read_text()
    assert "with connectable.connect() as connection:" in text
    text = text.replace("fileConfig(config.config_file_name)", "")
    return "from flask_pool import migrations\n" + text.replace(
        "with connectable.connect() as connection:",
        "with migrations.connect(connectable) as connection:",
    )


def test_sqlite_changes_a_table_that_others_refer_to(sqlite_url: str, folder: Folder) -> None:
    """A batch operation copies it and drops it: rows that refer to it are not dropped with it."""
    folder.add(
        "one",
        USERS,
        """
        op.execute("CREATE TABLE pets (id integer, owner integer"
                   " REFERENCES users (id) ON DELETE CASCADE)")
        op.execute("INSERT INTO users VALUES (1, 1)")
        op.execute("INSERT INTO pets VALUES (1, 1)")
        """,
    )
    folder.add(
        "two",
        """
        with op.batch_alter_table("users") as batch:
            batch.alter_column("n", type_=String(10))
        """,
    )

    with application(sqlite_url, folder) as app:
        engine = app.extensions["sqlalchemy"].engine
        event.listen(engine, "connect", lambda driver, _: driver.execute("PRAGMA foreign_keys = 1"))
        upgrade()
        with engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1

    assert rows(sqlite_url, "SELECT count(*) FROM pets") == [(1,)]


def test_sqlite_in_memory(folder: Folder) -> None:
    """It lives in its one connection, which stays."""
    folder.add("one", USERS)
    folder.add("two", BLOCK.format(statement="INSERT INTO users VALUES (1, 1)"))

    with application("sqlite:///:memory:", folder) as app:
        upgrade()
        with app.extensions["sqlalchemy"].engine.connect() as connection:
            assert connection.exec_driver_sql("SELECT id FROM users").scalar() == 1


def test_offline(url: str, folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    """`--sql` prints what would be done, and connects to nothing."""
    folder.add("one", USERS)
    folder.add("two", BLOCK.format(statement="INSERT INTO users VALUES (1, 1)"))

    with application(url, folder, migrate={"output_buffer": sys.stdout}):
        upgrade(sql=True)

    said = capsys.readouterr().out
    assert "CREATE TABLE users" in said
    assert "INSERT INTO users VALUES (1, 1);" in said
    assert url.startswith("mysql") or said.count("BEGIN;") == 2
    assert tables(url) == set()


def test_commands_that_only_read_take_no_turn(
    url: str, folder: Folder, pause: Pause, tmp_path: Path
) -> None:
    """`flask db current` answers while a deployment migrates."""
    folder.add("one", USERS)
    folder.add("two", BLOCK.format(statement="INSERT INTO users VALUES (1, 1)"), pause.code)

    with application(url, folder), deployment(url, folder) as other:
        pause.wait(other)
        begun = monotonic()
        current()
        assert monotonic() - begun < servers.paced(5)
        pause.go.touch()
        assert applied(other) == ["one", "two"]


def test_a_server_that_is_away_is_one_line(
    folder: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    """No traceback."""
    url = "postgresql+psycopg://nobody:secret@127.0.0.1:1/none"
    with application(url, folder), pytest.raises(SystemExit):
        upgrade()

    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert line.startswith("Error: the database can't be reached: ")
    assert "\n" not in line


def test_without_the_librarys_pool(url: str, folder: Folder) -> None:
    """SQLAlchemy's own pool has one place, and gets it back."""
    folder.add("one", USERS)
    folder.add("two", BLOCK.format(statement="INSERT INTO users VALUES (1, 1)"))
    options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 2}

    with application(url, folder, config={"SQLALCHEMY_ENGINE_OPTIONS": options}) as app:
        upgrade()
        with app.extensions["sqlalchemy"].engine.connect() as connection:
            assert connection.exec_driver_sql("SELECT id FROM users").scalar() == 1


@pytest.mark.parametrize("level", ["AUTOCOMMIT", "SERIALIZABLE"])
def test_an_isolation_level_of_the_applications_own(
    url: str, folder: Folder, level: str, pause: Pause
) -> None:
    """Whatever it is, the turn is taken, and CREATE INDEX CONCURRENTLY waits for no turn."""
    folder.add("one", USERS)
    concurrently = "CONCURRENTLY" if url.startswith("postgresql") else ""
    statement = f"CREATE INDEX {concurrently} ix_users_n ON users (n)"
    folder.add("two", BLOCK.format(statement=statement), pause.code)
    options = {"isolation_level": level, "pool_size": 1, "max_overflow": 0}
    given = {"config": {"SQLALCHEMY_ENGINE_OPTIONS": options}}

    with deployment(url, folder, **given) as first, deployment(url, folder, **given) as second:
        pause.wait(first, second)
        with pytest.raises(TimeoutError):
            wait_for_one_of(first, second)
        pause.go.touch()
        assert sorted([applied(first), applied(second)]) == [[], ["one", "two"]]


def test_a_migration_is_no_connection_held_long(
    url: str, folder: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor is the one that keeps the turn."""
    folder.add("one", USERS, "import time", "time.sleep(1.5)")

    with application(url, folder, config={"POOL_HELD_WARNING": 0.5}):
        upgrade()

    assert "held" not in caplog.text


def test_a_bind_that_no_revision_is_for_is_left_alone(tmp_path: Path) -> None:
    """A folder of `flask db init` is one database's: the bind may be another system's."""
    template = Path(flask_migrate.__file__).parent / "templates" / "flask" / "script.py.mako"
    folder = Folder(tmp_path / "plain")
    (folder.path / "script.py.mako").write_text(template.read_text())
    folder.add("one", USERS)
    url, other = (f"sqlite:///{tmp_path / name}.db" for name in ("own", "other"))

    with application(url, folder, binds={"other": other}):
        upgrade()

    assert (tables(url), tables(other)) == ({"users"}, set())
    assert "alembic_version" not in [
        name for (name,) in rows(other, "SELECT name FROM sqlite_master")
    ]


def test_a_stamp_says_what_was_stamped(
    folder: Folder, sqlite_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Up, down, and back to the start."""
    folder.add("one", USERS)
    folder.add("two", PETS)
    with application(sqlite_url, folder):
        for revision in ("head", "one", "base"):
            stamp(revision=revision)
    said = [line.partition(": ")[2] for line in capsys.readouterr().out.splitlines()]
    assert [line.partition(":")[0] for line in said] == [
        "stamped two",
        "stamped one",
        "stamped base",
    ]
