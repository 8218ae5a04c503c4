"""A connection dies around COMMIT: what is known is said, and what is not known too."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import servers

from .conftest import Database, Serve
from .project import Project
from .service import WITH_VIEWS

OpenProxy = Callable[[int], servers.Proxy]


def test_a_commit_without_an_answer_is_in_doubt(
    database: Database, serve: Serve, proxy: OpenProxy
) -> None:
    """The server has it, the client can't know: no Retry-After, so that nobody adds it twice."""
    between = proxy(database.server.port)
    service = serve(database.url(between.port), *WITH_VIEWS, WEB_CONCURRENCY=1)
    service.post("before")

    between.drop_after_client_says = b"COMMIT"
    answer = service.post("in doubt")
    between.drop_after_client_says = b""

    assert answer.is_in_doubt, answer
    servers.wait_until(lambda: database.names() == ["before", "in doubt"])
    assert service.metric("db_client_request_unavailable_total", reason="in_doubt") == 1
    assert service.post("after").status == 201


@pytest.mark.needs("mariadb")
def test_a_tls_connection_that_died_spoils_no_other(project: Project, serve: Serve) -> None:
    """Its last error waits in OpenSSL's queue, where the thread's next connection would find it."""
    command = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -keyout {} -out {}"
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # the server is another user
        key, certificate = Path(folder, "key.pem"), Path(folder, "certificate.pem")
        subprocess.run(command.format(key, certificate).split(), check=True, capture_output=True)
        key.chmod(0o644)
        with servers.mariadb(ssl_key=str(key), ssl_cert=str(certificate)) as server:
            database = Database(server, server.create_database())
            project.migrate(database.url())
            asking = f"{database.url()}?ssl_ca={certificate}&ssl_check_hostname=false"
            service = serve(asking, *WITH_VIEWS, WEB_CONCURRENCY=1)

            answers = [service.get("/probe/die_before_the_end") for _ in range(6)]
            (encrypted,) = database.rows("SHOW STATUS LIKE 'Ssl_accepts'")

    assert [answer.status for answer in answers] == [200] * 6, answers
    assert int(encrypted["Value"]) >= 4
