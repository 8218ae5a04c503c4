"""A server that takes no changes: writes are refused, reads go on, and it ends by itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import servers
from sqlalchemy.engine import make_url

from .conftest import Database, Serve
from .service import WITH_VIEWS


@contextmanager
def read_only(database: Database) -> Iterator[None]:
    """Have the server itself take no changes, as a primary does that was demoted."""
    if isinstance(database.server, servers.MariaDB):
        database.rows("SET GLOBAL read_only = 1")
    else:
        database.rows("ALTER SYSTEM SET default_transaction_read_only = on")
        database.rows("SELECT pg_reload_conf()")
    try:
        yield
    finally:
        if isinstance(database.server, servers.MariaDB):
            database.rows("SET GLOBAL read_only = 0")
        else:
            database.rows("ALTER SYSTEM RESET default_transaction_read_only")
            database.rows("SELECT pg_reload_conf()")


def url_of_an_ordinary_user(database: Database) -> str:
    """Give the database's URL for somebody whom the server may refuse to write."""
    if not isinstance(database.server, servers.MariaDB):
        return database.url()
    database.rows("CREATE USER IF NOT EXISTS 'ordinary'@'%' IDENTIFIED BY 'password'")
    rights = "SELECT, INSERT, UPDATE, DELETE"
    database.rows(f"GRANT {rights} ON {database.name}.* TO 'ordinary'@'%'")
    url = make_url(database.url()).set(username="ordinary", password="password")
    return url.render_as_string(hide_password=False)


def test_a_server_that_became_read_only_is_503_and_is_looked_for_again(
    database: Database, serve: Serve
) -> None:
    """The connection is replaced, as the next one may lead to the new primary."""
    service = serve(url_of_an_ordinary_user(database), WEB_CONCURRENCY=1, SQLALCHEMY_POOL_SIZE=1)
    assert service.post("before").status == 201

    with read_only(database):
        servers.wait_until(lambda: service.post("refused").status == 503)
        refused, read = service.post("refused"), service.get()
        ready = service.get("/healthz/ready")

    assert refused.is_clean_refusal
    assert refused.data["reason"] == "read_only"
    assert read.text.startswith("before")
    assert (ready.status, ready.data["detail"]) == (503, "read_only")
    assert service.metric("db_client_request_unavailable_total", reason="read_only") >= 2
    assert service.metric("db_client_connection_replaced_total", reason="died") >= 2
    servers.wait_until(lambda: service.post("after").status == 201)
    servers.wait_until(lambda: service.get("/healthz/ready").status == 200)
    assert "Traceback" not in service.log()


def test_a_transaction_that_asked_to_only_read_is_the_programs_own(
    database: Database, serve: Serve
) -> None:
    """It is an error as anywhere, and the server is not taken for a standby."""
    service = serve(database.url(), *WITH_VIEWS, WEB_CONCURRENCY=1)

    assert service.request("POST", "/probe/write_in_a_transaction_that_only_reads").status == 500
    assert service.metric("db_client_connection_replaced_total", reason="died") == 0
