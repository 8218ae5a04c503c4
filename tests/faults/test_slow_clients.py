"""Clients that send slowly are the business of the proxy that the project's README shows."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
import servers
from servers.process import Server, running
from servers.programs import find_program

from .conftest import Database, Serve
from .project import Project
from .service import Answer, Service

HALF = (
    b"POST /users HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Content-Length: 99\r\n\r\n{"
)


class Nginx(Server):
    """An nginx with the server block of the project's README, in front of a service."""

    name = "nginx"
    quit_signal = Service.quit_signal

    def __init__(self, project: Project, service: Service) -> None:
        super().__init__({}, {})
        readme = (project.path / "README.md").read_text()
        (block,) = re.findall(r"```nginx\n(.*?)```", readme, re.DOTALL)
        block = block.replace("listen 80;", f"listen 127.0.0.1:{self.port};")
        block = block.replace("127.0.0.1:8000", f"127.0.0.1:{service.port}")
        places = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = "".join(f"{place}_temp_path {self.folder}/{place};" for place in places)
        (self.folder / "nginx.conf").write_text(
            f"daemon off; pid {self.folder}/nginx.pid; error_log stderr; user root;"
            f"events {{}} http {{ access_log off; {temporary} {block} }}"
        )
        self.service = service

    def command(self) -> list[str]:
        """Give the command line that runs the server in the foreground."""
        return [str(find_program("nginx")), "-p", str(self.folder), "-c", "nginx.conf"]

    def ask(self) -> object:
        """Ask for a page of the service."""
        answer = self.get()
        if answer.status != 200:
            raise ConnectionError(answer.text)
        return answer

    def get(self) -> Answer:
        """Read through the proxy."""
        own, self.service.port = self.service.port, self.port
        try:
            return self.service.request("GET", "/users", patience=5)
        finally:
            self.service.port = own


@contextmanager
def half_sent(port: int, number: int) -> Iterator[None]:
    """Keep this many requests waiting for the rest of themselves."""
    with ExitStack() as stack:
        for _ in range(number):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            client.sendall(HALF)
        yield


@pytest.mark.needs("nginx")
def test_the_proxy_of_the_readme_keeps_slow_clients_from_the_service(
    on_postgresql: Database, serve: Serve, project: Project
) -> None:
    """Forty requests of which the rest never comes hold no thread behind it."""
    service = serve(on_postgresql.url(), WEB_CONCURRENCY=1, WEB_THREADS=2)
    with running(Nginx(project, service)) as proxy, half_sent(proxy.port, 40):
        assert [proxy.get().status for _ in range(5)] == [200] * 5
        assert service.get("/healthz/live").status == 200
    servers.wait_until(lambda: service.get().status == 200)
