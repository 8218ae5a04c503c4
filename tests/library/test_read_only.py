"""A server that takes no changes is treated as gone; a transaction that takes none is not."""

from __future__ import annotations

from typing import Any

import psycopg
from servers import wait_until
from servers.standby import configure
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError

from .conftest import (
    LONG,
    Database,
    Item,
    Make,
    Seen,
    answer,
    db,
    engine_of,
    names,
    on,
    run,
    stored,
)


def add() -> None:
    db.session.add(Item(name="A"))
    db.session.commit()


def opened(app: Any) -> list[Any]:
    found: list[Any] = []
    event.listen(engine_of(app), "connect", lambda connection, _: found.append(connection))
    return found


@on("postgresql")
def test_a_server_that_is_read_only_is_left(app: Any, database: Database) -> None:
    """As after a fail-over: the next connection finds the new primary."""
    run(app, names)
    found, seen = opened(app), Seen(app)
    database.server.rows(f"ALTER DATABASE {database.name} SET default_transaction_read_only = on")
    try:
        engine_of(app).dispose()
        response = answer(app, add, "POST")
        assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
        assert seen.reasons == ["read_only"]
    finally:
        database.server.rows(f"ALTER DATABASE {database.name} RESET default_transaction_read_only")

    run(app, add, "POST")

    assert stored(app) == ["A"]
    assert len(found) == 2
    assert seen.replacements == ["died"]


@on("postgresql")
def test_a_server_that_becomes_read_only_is_left(app: Any, database: Database) -> None:
    """It reports that to the connections that are open, which then are asked nothing."""
    run(app, names)
    found, seen = opened(app), Seen(app)
    configure(database.server, "default_transaction_read_only", "on")
    try:
        (entry,) = engine_of(app).pool._entries
        status = entry.dbapi_connection.info.parameter_status

        def reported() -> bool:
            run(app, names)
            return str(status("default_transaction_read_only")) == "on"

        wait_until(reported, LONG)
        assert answer(app, add, "POST").status_code == 503
    finally:
        with psycopg.connect(database.server.dsn(), autocommit=True) as admin:
            admin.execute("SET default_transaction_read_only = off")
            admin.execute("ALTER SYSTEM RESET default_transaction_read_only")
            admin.execute("SELECT pg_reload_conf()")

    assert seen.reasons == ["read_only"]
    assert seen.replacements[-1:] == ["died"]
    wait_until(lambda: answer(app, add, "POST").status_code == 200, LONG)
    assert found


@on("postgresql")
def test_a_read_only_transaction_of_the_application_is_its_own(app: Any) -> None:
    found, seen = opened(app), Seen(app)

    def view() -> object:
        db.session.execute(text("SET TRANSACTION READ ONLY"))
        try:
            db.session.execute(text("DELETE FROM pool_items"))
        except DBAPIError as error:
            db.session.rollback()
            return error.connection_invalidated, type(error.orig).__name__
        return None

    assert run(app, view, "POST") == (False, "ReadOnlySqlTransaction")
    run(app, names)
    assert (len(found), seen.replacements) == (1, [])


@on("mariadb")
def test_a_mariadb_that_is_read_only_is_left(make_app: Make, app: Any, database: Database) -> None:
    """`--read-only` binds all but administrators."""
    user, password = f"plain_{database.name[-6:]}", "only-for-these-tests"
    database.rows(f"CREATE USER {user}@127.0.0.1 IDENTIFIED BY '{password}'")
    database.rows(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {database.name}.* TO {user}@127.0.0.1")
    url = engine_of(app).url.set(username=user, password=password)
    plain = make_app(url.render_as_string(hide_password=False))
    run(plain, names)
    found, seen = opened(plain), Seen(plain)
    database.rows("SET GLOBAL read_only = 1")
    try:
        response = answer(plain, add, "POST")
    finally:
        database.rows("SET GLOBAL read_only = 0")

    assert (response.status_code, seen.reasons) == (503, ["read_only"])
    run(plain, add, "POST")
    assert stored(app) == ["A"]
    assert len(found) == 1
