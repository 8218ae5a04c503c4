"""Clients of all kinds: silent, kept alive, pipelining, uploading, behind proxies, with TLS."""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
import subprocess
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from bake import ROOT
from servers.programs import find_program
from servers.workshop import free_port

from .service import Generator, Load, Service, read_answer, serve, wait_for

pytestmark = pytest.mark.needs("gcc")


def keep_asking(service: Service, until: float, path: str, found: Counter[int]) -> None:
    """Ask without a pause on one connection, as often as the server keeps it."""
    while time.monotonic() < until:
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=20)
        try:
            while time.monotonic() < until:
                connection.request("GET", path)
                answer = connection.getresponse()
                answer.read()
                found[answer.status] += 1
                if answer.will_close:
                    break
        except (OSError, http.client.HTTPException):
            found[-1] += 1
        finally:
            connection.close()


def test_kept_alive_clients_starve_no_newcomers(
    folder: Path, load: Generator, gunicorn: str
) -> None:
    """Both are served in turn, though kept-alive clients could use all threads."""
    kept: Counter[int] = Counter()
    with serve(folder, GUNICORN=gunicorn) as service:
        until = time.monotonic() + 6
        arguments = (service, until, "/?seconds=0.1", kept)
        threads = [threading.Thread(target=keep_asking, args=arguments) for _ in range(24)]
        for thread in threads:
            thread.start()
        done = load.run(service.port, "5:5", path="/?seconds=0.1", patience=5)
        for thread in threads:
            thread.join()
    assert done.statuses[0] == done.statuses[-1] == 0  # nobody left, nobody was cut off
    assert done.statuses[200] > 0  # who is refused asks again at once: a retry storm
    assert kept[200] > 40
    assert kept[-1] == 0


def test_long_polling_is_no_overload(folder: Path) -> None:
    """Eight clients poll on four threads, two seconds each: all are served, and probes answer."""
    found: Counter[int] = Counter()
    slowest = 0.0
    with serve(folder) as service:
        for each in [service.ask("/?seconds=2") for _ in range(4)]:  # a mean time to go by
            assert read_answer(each)[0] == 200
        until = time.monotonic() + 5
        arguments = (service, until, "/?seconds=2", found)
        threads = [threading.Thread(target=keep_asking, args=arguments) for _ in range(8)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        while time.monotonic() < until:
            began = time.monotonic()
            assert service.get("/healthz/live") == (200, "live")
            slowest = max(slowest, time.monotonic() - began)
            time.sleep(0.1)
        for thread in threads:
            thread.join()
    assert set(found) == {200}
    assert found[200] >= 10
    assert slowest < 3  # a second behind those that wait, and a busy machine; 4 in a line


def test_connections_without_a_request_hold_no_thread(folder: Path, gunicorn: str) -> None:
    """Neither while the kernel keeps them nor when it has handed them over."""
    with serve(folder, GUNICORN=gunicorn) as service:
        silent = [service.connect() for _ in range(40)]
        time.sleep(0.5)
        began = time.monotonic()
        assert [service.get("/wait")[0] for _ in range(10)] == [200] * 10
        assert time.monotonic() - began < 3
        time.sleep(8)  # the kernel has handed them over by now
        began = time.monotonic()
        assert [service.get("/wait")[0] for _ in range(10)] == [200] * 10
        assert time.monotonic() - began < 3
        for each in silent:
            each.close()


def test_newcomers_take_turns_with_kept_alive_clients_of_fast_views(folder: Path) -> None:
    """Each second turn is theirs, however many turns there are in a second."""
    served: Counter[bool] = Counter()  # by whether it was a newcomer

    def ask_again(newcomer: bool) -> None:
        while time.monotonic() < until:
            with service.connect() as connection:
                kept = True
                while kept and time.monotonic() < until:
                    connection.sendall(b"GET /?seconds=0.002 HTTP/1.1\r\nHost: x\r\n\r\n")
                    status, headers = read_answer(connection)
                    served[newcomer] += status == 200
                    kept = not newcomer and headers.get("Connection") == "keep-alive"

    with serve(folder, "--keep-alive", "60", threads=2) as service:
        until = time.monotonic() + 4
        with ThreadPoolExecutor(16) as clients:
            list(clients.map(ask_again, [True, False] * 8))
    assert served[True] > 0.7 * served[False], served


def stay(service: Service, number: int) -> list[socket.socket]:
    """Return connections on which one request each was answered, and which are kept open."""
    kept: list[socket.socket] = []
    for _ in range(20 * number):  # a busy machine lets some wait, and they are told to close
        connection = service.ask("/wait")
        status, headers = read_answer(connection)
        assert status == 200
        if headers["Connection"] == "keep-alive":
            kept.append(connection)
        if len(kept) == number:
            break
    return kept


def test_idle_kept_alive_connections_hold_no_thread(folder: Path, gunicorn: str) -> None:
    """Forty clients that asked once and stay silent delay no newcomer, and may ask again."""
    with serve(folder, "--keep-alive", "60", GUNICORN=gunicorn) as service:
        kept = stay(service, 40)
        began = time.monotonic()
        assert [service.get("/wait")[0] for _ in range(10)] == [200] * 10
        assert time.monotonic() - began < 3
        for each in kept:
            each.sendall(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        assert [read_answer(each)[0] for each in kept] == [200] * 40


def test_kept_alive_probe_is_found_while_all_threads_are_busy(folder: Path, gunicorn: str) -> None:
    """It stands behind a request and a client that hangs up, and waits for neither."""
    with serve(folder, "--keep-alive", "60", threads=2, GUNICORN=gunicorn) as service:
        request, left, probe = stay(service, 3)
        stuck = [service.ask("/?seconds=4") for _ in range(2)]
        time.sleep(0.3)
        request.sendall(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        left.close()
        time.sleep(0.05)
        began = time.monotonic()
        probe.sendall(b"GET /healthz/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_answer(probe)[0] == 200
        assert time.monotonic() - began < 2.5
        assert [read_answer(each)[0] for each in stuck] == [200, 200]


def test_clients_that_hang_up_make_requests_no_faster(folder: Path) -> None:
    """The mean time of requests is that of requests."""

    def ask_once(_: int) -> int:
        with service.ask("/") as connection:
            return read_answer(connection)[0]

    with serve(folder, "--keep-alive", "60") as service, ThreadPoolExecutor(3) as clients:
        assert set(clients.map(ask_once, range(100))) == {200}
        assert json.loads(service.get("/rule")[1])["mean"] > 0.04


def test_body_that_no_view_reads_is_no_request(folder: Path) -> None:
    """Its connection holds no thread either, unlike with gunicorn 23."""
    within = b"GET /rule HTTP/1.1\r\nHost: x\r\n\r\n"
    head = f"POST /wait HTTP/1.1\r\nHost: x\r\nContent-Length: {len(within)}\r\n\r\n".encode()
    with serve(folder, "--keep-alive", "60", threads=1) as service:
        (kept,) = stay(service, 1)
        found = []
        for request in (head + within, b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n", head + within):
            kept.sendall(request)
            found.append(read_answer(kept)[0])
            assert service.get("/wait")[0] == 200
        kept.settimeout(0.5)
        with pytest.raises(TimeoutError):
            kept.recv(1)
    assert found == [405, 200, 405]


def test_kept_alive_clients_rejoin_the_common_queue(folder: Path, gunicorn: str) -> None:
    """Answers say `Connection: close` while requests wait, and only then."""
    keep = ("--keep-alive", "60")
    with serve(folder, *keep, threads=1, GUNICORN=gunicorn, POOL_QUEUE_TARGET="10") as service:
        kept = stay(service, 5)
        stuck = service.ask("/?seconds=1")
        time.sleep(0.3)
        for each in kept:
            each.sendall(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        assert [read_answer(each)[1]["Connection"] for each in kept] == ["close"] * 5
        assert read_answer(stuck)[0] == 200
        assert len(stay(service, 5)) == 5


def come_back(service: Service) -> int:
    """Ask until served, each time after a third of the announced time; return how often."""
    tries = 0
    while True:
        tries += 1
        status, headers = read_answer(service.ask("/?seconds=0.2"))
        if status == 200:
            return tries
        assert status == 503
        assert tries < 20, "it is refused for ever"
        time.sleep(int(headers["Retry-After"]) / 3)


def test_refused_clients_that_come_back_are_served(folder: Path) -> None:
    """Sixty at once are three seconds of work; `Retry-After` spreads those that are refused."""
    with serve(folder) as service, ThreadPoolExecutor(60) as clients:
        tries = list(clients.map(come_back, [service] * 60))
    assert 60 < sum(tries) <= 4 * 60
    assert max(tries) <= 8


def test_a_client_may_send_late(folder: Path) -> None:
    """A connection that was silent at first is served as any other."""
    with serve(folder) as service:
        connection = service.connect()
        time.sleep(3)
        connection.sendall(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_answer(connection)[0] == 200


def test_pipelined_requests_did_not_wait_for_each_other(folder: Path, gunicorn: str) -> None:
    """The wait of the last begins with the answer before it."""
    with serve(folder, GUNICORN=gunicorn) as service:
        connection = service.connect()
        request = b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n"
        connection.sendall(b"".join(request % path for path in [b"/?seconds=0.4"] * 3 + [b"/wait"]))
        texts = []
        stream = connection.makefile("rb")
        for _ in range(4):
            length = 0
            while (line := stream.readline().strip()) != b"":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            texts.append(stream.read(length))
    assert texts[:3] == [b"served"] * 3
    assert float(texts[3]) < 0.4


def test_uploads_are_refused_cleanly(folder: Path) -> None:
    """A client that is still sending reads its 503, and no reset."""
    body = b"x" * 1_000_000
    with serve(folder, threads=1) as service:
        stuck = service.ask("/?seconds=3")
        time.sleep(0.3)
        found = []
        for size in (0, 10, len(body)):
            connection = service.connect()
            head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode()
            connection.sendall(head)
            found.append((connection, size))
        time.sleep(1.5)
        for connection, size in found:
            connection.sendall(body[:size])
            assert read_answer(connection)[0] == 503
        assert read_answer(stuck)[0] == 200


def test_uploads_are_served(folder: Path, gunicorn: str) -> None:
    """A body of a megabyte is read as a whole."""
    with serve(folder, GUNICORN=gunicorn) as service:
        connection = service.ask(method="POST", body=b"x" * 1_000_000)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.read() == b"1000000 served"


def test_a_stream_goes_on_while_others_are_refused(folder: Path, load: Generator) -> None:
    """What has begun is never cut off."""
    with serve(folder) as service:
        connection = service.ask("/stream")
        done = load.run(service.port, "60:3", path="/?seconds=0.2")
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert len(answer.read().split()) == 20
    assert done.statuses[503] > 0


def test_a_refusal_says_what_to_do(folder: Path) -> None:
    """It is JSON or a page, has a Retry-After of its own, and closes the connection."""
    with serve(folder, threads=1) as service:
        stuck = service.ask("/?seconds=2.5")
        time.sleep(0.3)
        line = [service.ask() for _ in range(30)]
        page = service.ask(more="Accept: text/html\r\n")
        head = service.ask(method="HEAD")
        answers = [read_answer(each) for each in line]
        assert {status for status, _ in answers} == {503}
        assert all(headers["Connection"] == "close" for _, headers in answers)
        assert answers[0][1]["Content-Type"] == "application/problem+json"
        assert len({headers["Retry-After"] for _, headers in answers}) > 3
        assert read_answer(page)[1]["Content-Type"].startswith("text/html")
        assert head.makefile("rb").read().endswith(b"\r\n\r\n")
        assert read_answer(stuck)[0] == 200


def test_another_machines_clock_refuses_nothing(folder: Path) -> None:
    """X-Request-Start is shown, and counts for nothing else on TCP."""
    old = {"X-Request-Start": f"t={time.time() - 30}"}
    with serve(folder) as service:
        status, text = service.get("/wait", headers=old)
        assert (status, float(text) > 25) == (200, True)  # shown all the same


def unix_get(path: Path, more: str = "") -> int:
    """Ask on a unix socket; return the status."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(path))
        connection.sendall(f"GET / HTTP/1.1\r\nHost: x\r\n{more}\r\n".encode())
        return read_answer(connection)[0]


def test_on_a_unix_socket_the_header_tells(folder: Path) -> None:
    """Where the socket tells nothing, X-Request-Start counts."""
    path = folder / "s"
    with serve(folder, bind=f"unix:{path}"):
        wait_for(lambda: path.exists() and unix_get(path) == 200)
        time.sleep(1.5)  # what waited while the worker started is not refused
        assert unix_get(path, f"X-Request-Start: {time.time() * 1000:.0f}\r\n") == 200
        assert unix_get(path, f"X-Request-Start: t={time.time() - 5:.3f}\r\n") == 503
        assert unix_get(path) == 200


def test_tls(folder: Path, gunicorn: str) -> None:
    """The wait is measured before the handshake; the refusal comes after it."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", folder / "key",
         "-out", folder / "cert", "-subj", "/CN=localhost", "-days", "2"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.create_default_context(cafile=str(folder / "cert"))
    context.check_hostname = False

    def get(path: str) -> int:
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=20)
        connection.request("GET", path)
        status = connection.getresponse().status
        connection.close()
        return status

    options = ("--certfile", str(folder / "cert"), "--keyfile", str(folder / "key"))
    with serve(folder, *options, threads=1, wait=False, GUNICORN=gunicorn) as service:
        port = service.port
        wait_for(lambda: get("/wait") == 200)
        for _ in range(40):  # a mean time to go by
            get("/wait")
        found: list[int] = []

        def ask(path: str) -> None:
            found.append(get(path))

        paths = ["/?seconds=2.5", *["/"] * 5, "/healthz/live"]
        threads = [threading.Thread(target=ask, args=(path,)) for path in paths]
        for thread in threads:
            thread.start()
            time.sleep(0.1)
        for thread in threads:
            thread.join()
        assert Counter(found) == {200: 2, 503: 5}


NGINX = """
daemon off; worker_processes 1; pid {0}/pid; error_log {0}/error; user root;
events {{ worker_connections 512; }}
http {{
    access_log off; client_body_temp_path {0}/b; proxy_temp_path {0}/p;
    fastcgi_temp_path {0}/f; uwsgi_temp_path {0}/u; scgi_temp_path {0}/s;
    {1}
}}
"""


def shown(title: str, language: str, private: dict[str, str]) -> str:
    """Return a block of docs/overload.md, with private addresses in place of those shown."""
    page = (ROOT / "docs" / "overload.md").read_text("utf-8")
    block = rf"^{title}\b[^\n]*(?:\n[^\n]+)*:\n\n```{language}\n(.*?)```"
    found = re.search(block, page, re.DOTALL | re.MULTILINE)
    assert found is not None
    text = found[1]
    for public, own in private.items():
        assert text.count(public) == 1, public
        text = text.replace(public, own)
    return text


def of_ingress(listen: int, server: str) -> str:
    """Return what the controller ingress-nginx makes of the objects that the page shows."""
    ingress, headers = yaml.safe_load_all(shown("ingress-nginx", "yaml", {}))
    for item in (ingress, headers):
        kubernetes_validate.validate(item, kubernetes_validate.latest_version(), strict=True)
    prefix = "nginx.ingress.kubernetes.io/"
    values = {
        name.removeprefix(prefix).replace("-", "_"): str(value)
        for name, value in ingress["metadata"]["annotations"].items()
    }
    values["client_max_body_size"] = values.pop("proxy_body_size")
    values["proxy_read_timeout"] += "s"
    values |= {f"proxy_set_header {name}": f'"{value}"' for name, value in headers["data"].items()}
    lines = "".join(f"{name} {value};\n" for name, value in values.items())
    return f"""
    upstream service {{ server {server}; keepalive 320; }}
    server {{ listen 127.0.0.1:{listen}; location / {{
        proxy_pass http://service; proxy_http_version 1.1; proxy_set_header Connection "";
        proxy_set_header Host $http_host;
        {lines}
    }} }}"""


@pytest.mark.needs("nginx")
@pytest.mark.parametrize("kind", ["tcp", "unix", "keeps no connection", "ingress"])
def test_behind_nginx_as_documented(folder: Path, load: Generator, kind: str) -> None:
    """Overload is refused by the service, nothing is cut off, and the header tells the wait."""
    nginx, port, path = find_program("nginx"), free_port(), folder / "sock"
    on_tcp = kind in ("tcp", "keeps no connection")
    with serve(folder, bind=None if on_tcp else f"unix:{path}") as service:
        server = f"127.0.0.1:{service.port}" if on_tcp else f"unix:{path}"
        private = {"listen 80;": f"listen 127.0.0.1:{port};", "127.0.0.1:8000": server}
        if kind == "keeps no connection":
            private["keepalive 32; "] = ""
        ingress = kind == "ingress"
        block = of_ingress(port, server) if ingress else shown("nginx", "nginx", private)
        (folder / "nginx.conf").write_text(NGINX.format(folder, block))
        process = subprocess.Popen([str(nginx), "-c", str(folder / "nginx.conf")])
        assert_refuses_behind(Service(process, port, folder), load)


def assert_refuses_behind(front: Service, load: Generator) -> None:
    """Send a proxy a load that can be served and one that can't; stop it."""
    try:
        below, above, refused = behind_proxy(front, load)
    finally:
        front.process.terminate()
        front.process.wait()
    assert set(below.statuses) == {200}
    assert set(above.statuses) <= {200, 503, 0}
    assert refused >= above.statuses[503] > 20
    assert len(above.served) > 40


def behind_proxy(front: Service, load: Generator) -> tuple[Load, Load, int]:
    """Return what becomes of a load that can be served, of one that can't, and the refusals."""
    wait_for(lambda: front.get("/wait")[0] == 200)
    connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=20)
    for _ in range(2):
        old = {"X-Request-Start": f"t={time.time() - 30:.3f}"}  # it is overwritten
        connection.request("GET", "/wait", headers=old)
        # on a unix socket nothing else tells: without the header it would be None
        assert float(connection.getresponse().read()) < 1
        time.sleep(1.2)  # a client's silence is no wait
    connection.close()
    below = load.run(front.port, "12:3", path="/?seconds=0.2")
    above = load.run(front.port, "60:4", path="/?seconds=0.2")
    return below, above, json.loads(front.get("/rule")[1])["refused"]


@pytest.mark.needs("haproxy")
@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_behind_haproxy_as_documented(folder: Path, load: Generator, kind: str) -> None:
    """Overload is refused by the service, nothing is cut off, and the header tells the wait."""
    haproxy, port, path = find_program("haproxy"), free_port(), folder / "s"
    with serve(folder, bind=f"unix:{path}" if kind == "unix" else None) as service:
        server = f"unix@{path}" if kind == "unix" else f"127.0.0.1:{service.port}"
        private = {"bind :80": f"bind 127.0.0.1:{port}", "10.0.0.1:8000": server}
        block = shown("HAProxy", "text", private)
        (folder / "haproxy.cfg").write_text(block)
        process = subprocess.Popen([str(haproxy), "-db", "-f", str(folder / "haproxy.cfg")])
        assert_refuses_behind(Service(process, port, folder), load)
