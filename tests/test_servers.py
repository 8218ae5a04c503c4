"""The private servers and the proxy do what the tests that use them rely on."""

import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg
import pytest
import servers

OpenProxy = Callable[[int], servers.Proxy]


def connect(dsn: str) -> psycopg.Connection:
    """Connect as a service does that PgBouncer may stand in front of."""
    return psycopg.connect(dsn, autocommit=True, prepare_threshold=None)


def test_an_abrupt_goodbye_is_in_the_log(postgresql: servers.PostgreSQL, proxy: OpenProxy) -> None:
    """A client that vanishes can be told from one that says goodbye."""
    before = len(postgresql.log())
    with connect(postgresql.dsn()):
        pass
    postgresql.rows("SELECT 1")
    assert "unexpected EOF" not in postgresql.log()[before:]
    counter = proxy(postgresql.port)
    connection = connect(postgresql.dsn(port=counter.port))
    pid = connection.info.backend_pid
    assert counter.drop() == 1
    servers.wait_until(lambda: pid not in [row["pid"] for row in postgresql.connections()])
    assert "could not receive data" in postgresql.log()[before:]
    connection.close()


@pytest.mark.skipif(not servers.can_silence(), reason="this system lets only root silence it")
def test_a_silent_network_acknowledges_nothing(
    postgresql: servers.PostgreSQL, proxy: OpenProxy
) -> None:
    """The kernel itself gives up on a connection, and a new one is not accepted."""
    network = proxy(postgresql.port)
    dsn = postgresql.dsn(port=network.port)
    with connect(f"{dsn}?tcp_user_timeout=500") as connection:
        network.silence()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
        with pytest.raises(psycopg.errors.ConnectionTimeout):
            psycopg.connect(dsn, connect_timeout=2)
        network.speak()
        connect(dsn).close()


@pytest.mark.skipif(not servers.can_silence(), reason="this system lets only root silence it")
def test_who_left_a_silent_network_is_gone_after_it(
    postgresql: servers.PostgreSQL, proxy: OpenProxy
) -> None:
    """A reset is sent once, and was swallowed."""
    network = proxy(postgresql.port)
    with socket.create_connection(("127.0.0.1", network.port)) as client:
        servers.wait_until(lambda: network.open_connections == 1)
        network.silence()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    network.speak()
    servers.wait_until(lambda: network.open_connections == 0, 30)


def test_nothing_is_left_of_a_killed_process() -> None:
    """Kill a process that has a paused server: the server and its folder go too."""
    program = (
        "import signal, servers\n"
        "with servers.postgresql() as server:\n"
        "    server.pause()\n"
        "    print(server.process.pid, server.folder.parent, flush=True)\n"
        "    signal.pause()\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        pid, folder = process.stdout.readline().split()
        process.send_signal(signal.SIGKILL)
    servers.wait_until(lambda: not Path(folder).exists() and not is_running(int(pid)))


def is_running(pid: int) -> bool:
    """Tell whether a process is alive: not gone and not just waiting to be noted as gone."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
