"""A worker of gunicorn: one queue for all workers, and a bounded wait.

Threads are as many as connections, so under load requests wait in front of them. This worker
accepts a connection only while one of its threads is free: the queue is the listener's, first in
first out, and whoever has waited for too long (see `queue`) is refused without a thread.

While a thread is free, the loop waits for clients and hands them to threads. While all are busy, it
waits for none: a thread that has answered takes the next client itself, so that under load nobody
contends for Python's lock but threads with work.
"""

from __future__ import annotations

import errno
import os
import re
import select
import socket
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from struct import Struct
from threading import Lock, local
from time import monotonic, sleep
from typing import Any, Protocol

from gunicorn.http.body import Body  # type: ignore[import-untyped, unused-ignore]
from gunicorn.http.errors import ParseException  # type: ignore[import-untyped, unused-ignore]
from gunicorn.workers import gthread  # type: ignore[import-untyped, unused-ignore]

from . import queue
from .queue import RULE

TICK = 0.1  # seconds between two looks at the queue while all threads are busy
SOON = 0.01  # the same under overload
GLANCE = 0.005  # seconds between two looks at what arrives while others are known to wait
PAUSE = 0.005  # seconds until a connection is accepted again, when there is no room for one
IDLE = 1.0  # seconds between two heartbeats while nothing happens
CROWDED = 0.5  # of what the listener's queue holds; what arrives at a full one waits for seconds
AHEAD = 1.0  # seconds in the queue after which no worker is about to serve a request: look past
STOOD = 5  # looks at which the queue was not empty: no idle worker is about to take what waits
FULL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)  # no room for a connection now
BATCH = 64  # requests refused between two looks at what threads have finished
SILENT = 10.0  # seconds that a connection may take to send its first byte
LINGER = 2.0  # seconds to read what a client still sends, after the last answer
ONCE = getattr(select, "EPOLLIN", 0) | getattr(select, "EPOLLONESHOT", 0)
DEFER = 5  # seconds that the kernel keeps a connection that sends nothing to itself
LONGEST_HEAD = 16384  # bytes of a request that are looked at before a thread takes it
PEEK = int(socket.MSG_PEEK | socket.MSG_DONTWAIT)  # flags add up slowly
UNACKED = Struct("@24xI")  # tcpi_unacked of a listener: connections that wait
REJOIN = 0.05  # seconds of waiting above which clients should use the common queue alone

REQUEST_LINE = re.compile(
    rb"(GET|HEAD|OPTIONS|DELETE|POST|PUT|PATCH) ([^ ?\r\n]+)[^ \r\n]* HTTP/1\.[01]\r\n"
)
HAS_BODY = re.compile(rb"\r\n(?:content-length: *0*[1-9]|transfer-encoding:)", re.IGNORECASE)
START = re.compile(rb"\r\nx-request-start:([^\r\n]*)", re.IGNORECASE)
WANTS_HTML = re.compile(rb"\r\naccept:[^\r\n]*text/html", re.IGNORECASE)

# All that is used of gunicorn beyond what it documents: versions 23.0 to 27.0 have it. Where one of
# these is missing, or Linux, `run` is gunicorn's own: requests wait as in any gunicorn, the rule
# works where the application is called, and `flask pool check` says so.
NEEDS = (
    (gthread, "TConn"),  # (cfg, sock, client, server): .sock, .parser, .init(), .data_ready
    (gthread.ThreadWorker, "handle"),  # (conn): answers one request; tells whether to keep conn
    (gthread.ThreadWorker, "handle_request"),  # (req, conn): calls the application
    (gthread.ThreadWorker, "is_parent_alive"),
)
# attributes of a worker, too: .alive .cfg .sockets .log .poller .tpool .nr_conns
# .worker_connections .max_keepalived, and .keepalived_conns (24 and newer) or ._keep, which
# handle_request counts; of gunicorn.http: body.Body(reader) and errors.ParseException
INITS = hasattr(gthread.ThreadWorker, "set_accept_enabled")  # handle() calls conn.init(); not in 23


def lacking() -> list[str]:
    """Return what this gunicorn or this system lacks for one queue."""
    found = [f"{owner.__name__}.{name}" for owner, name in NEEDS if not hasattr(owner, name)]
    return found if hasattr(select, "epoll") else [*found, "select.epoll (Linux)"]


class _Request(Protocol):
    method: str
    path: str
    headers: list[tuple[str, str]]

    def force_close(self) -> None: ...


@dataclass(eq=False, slots=True)
class Client:
    """A connection, and what is known of its next request."""

    sock: Any
    secret: bool  # TLS: nothing can be read before a thread's handshake
    address: Any = None
    listener: Any = None
    conn: Any = None  # gunicorn's, from the first request on
    seen: bool = False  # what follows is known
    head: bytes = b""
    whole: bool = False  # the head is there as a whole
    body: bool = True  # a body may follow
    exempt: bool = False  # a probe or a page of operators
    wait: float | None = None
    judged: float | None = None  # what of it counts for refusing
    late: bool = False  # to be refused
    passed: float = 0.0  # when it was last found in time
    began: float = 0.0  # when a thread took the request
    called: bool = False  # it came to the application
    answered: float | None = None  # when its last request was answered
    idle: bool = False  # without a next request, when it was answered
    waits_in: dict[Client, None] | None = None  # what it was last watched as
    watched: bool = False  # epoll knows its socket
    deadline: float = 0.0  # when it is closed, if nothing happens

    @property
    def ready(self) -> bool:
        """Whether the request is there as a whole, so that the spare thread waits for nothing."""
        return self.whole and not self.body

    def forget(self) -> None:
        """Know nothing of the next request."""
        self.seen, self.head, self.exempt, self.whole, self.body = False, b"", False, False, True


class _Chunks:
    """A chunked body. Malformed chunks, which gunicorn finds while a view reads, are 400."""

    def __init__(self, body: Any) -> None:
        self._body = body

    def read(self, size: int) -> bytes:
        try:
            data: bytes = self._body.read(size)
        except ParseException as error:
            from werkzeug.exceptions import BadRequest  # not in the master

            raise BadRequest("The body is not chunked correctly.") from error
        return data


class Worker(gthread.ThreadWorker):  # type: ignore[misc, unused-ignore]
    """A ThreadWorker that accepts only while one of its threads is free.

    So the queue is the listener's, one for all workers. The loop refuses who has waited too long.
    """

    def handle_exit(self, sig: int, frame: Any) -> None:
        """SIGTERM: serve what waits in the queue, then end."""
        if lacking():
            super().handle_exit(sig, frame)
        else:
            self.alive, self._terminated = False, True
            self._wake()

    wsgi: Any
    _terminated = _woken = False
    _wake_end: int | None = None

    def run(self) -> None:
        """Serve until told to end."""
        if lacking():
            self.log.warning("one queue for all workers: this machine lacks %s", lacking())
            super().run()
            return
        self._prepare()
        while self.alive:
            self._turn(accepts=True)
            if not self.is_parent_alive():
                break
        self._finish()

    def _prepare(self) -> None:
        self._busy = self._stood = 0
        self._threads = self.cfg.threads
        self._process = os.getpid()
        self._spare_busy = self._more = self._newcomer_next = self._listening = False
        self._state = Lock()  # of all that follows: the loop's, and a thread's that takes a client
        self._polls = True  # the loop waits for clients: a thread is free
        self._counted, self._looked, self._began = 0.0, 0.0, monotonic()
        self._backlog = len(self.sockets) * self.cfg.backlog
        self._woken = False
        self._spare = ThreadPoolExecutor(1)  # answers probes while all other threads are busy
        self._local = local()
        self._done: deque[tuple[Client, bool, bool, float]] = deque()
        self._returning: deque[Client] = deque()  # kept-alive, with a request
        self._newcomers: deque[Client] = deque()  # accepted before a thread was free
        self._probes: deque[Client] = deque()
        self._idle: dict[Client, None] = {}  # kept-alive, without a request
        self._silent: dict[Client, None] = {}  # nothing came yet
        self._ending: dict[Client, None] = {}  # answered for the last time
        self.keepalived_conns = self._keep = self._idle
        configure(self.wsgi)
        self.wsgi = partial(self._call, self.wsgi)
        self._secret = self.cfg.is_ssl
        self._wake_fd, self._wake_end = os.pipe()
        os.set_blocking(self._wake_fd, False)
        os.set_blocking(self._wake_end, False)
        self._bell = select.poll()  # what wakes the loop while all threads are busy
        self._bell.register(self._wake_fd, select.POLLIN)
        # tells of a client's socket once, so that its thread can read; then it is told to again
        self._epoll = select.epoll()
        self._epoll.register(self._wake_fd, select.EPOLLIN)
        self._watched: dict[int, Client] = {}  # by the numbers of their sockets
        self._names: dict[Any, Any] = {}
        self._listeners = deque(self.sockets)  # the next to be looked at first
        self._accepted, self._drained = 0, False
        self._long_queue = False  # newcomers wait: kept-alive clients should queue with them
        for listener in self.sockets:
            listener.setblocking(False)
            self._names[listener] = listener.getsockname()
            with suppress(OSError):  # a unix socket
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, DEFER)

    # the loop

    def _turn(self, *, accepts: bool) -> None:
        """Wait for something to happen, then serve."""
        with self._state:
            self._polls = polls = self._busy < self._threads
            self._listen(accepts and self.nr_conns < self.worker_connections)
            timeout = self._timeout()
        events = self._epoll.poll(timeout) if polls else self._bell.poll(1000 * timeout)
        with self._state:
            self._polls = True  # until the next turn: it looks at what threads leave behind
            self._attend(events if polls else self._epoll.poll(0))
            self._serve(accepts=accepts)
            now = monotonic()
            due = now - self._counted >= TICK
            if due:
                self._counted = now
                self.notify()
                self._look_around(now)
            if self._busy >= self._threads and (due or RULE.overloaded(now)):
                self._look(accepts=accepts)

    def _timeout(self) -> float:
        """Return the seconds until the loop has something to do, if nothing happens."""
        if self._done or (self._polls and (self._returning or self._newcomers)):
            return 0
        now = monotonic()
        timeout = IDLE if self._polls and self.alive else TICK
        if not self._polls and RULE.overloaded(now):
            timeout = SOON
        if self._idle:
            timeout = min(timeout, max(TICK, next(iter(self._idle)).deadline - now))
        return timeout

    def _attend(self, events: list[tuple[int, int]]) -> None:
        """Take note of what threads have finished, then of what has arrived."""
        self._collect()
        self._more = False
        for number, _ in events:
            client = self._watched.get(number)
            if client is not None:
                if client.waits_in is not None:  # else it has the number of one that is closed
                    self._readable(client)
            elif number == self._wake_fd:
                if self._polls:  # else the loop sleeps, and is to find it
                    self._woke()
            elif self._listening:
                self._more = True
        if not self._more:
            self._long_queue = False

    def _look_around(self, now: float) -> None:
        busy = self._busy >= self._threads
        self._stood = self._stood + 1 if busy and self.alive and self._more else 0
        RULE.crowded = busy and self._standing() > CROWDED * self._backlog
        RULE.tell()
        for clients in (self._ending, self._silent, self._idle):
            self._expire(clients, now)

    def _listen(self, wanted: bool) -> None:
        if wanted == self._listening:
            return
        for listener in self.sockets:
            if wanted:
                self._epoll.register(listener.fileno(), select.EPOLLIN)
            else:
                self._epoll.unregister(listener.fileno())
        self._listening = wanted

    def _wake(self) -> None:
        try:
            if self._wake_end is not None and not self._woken:
                self._woken = True
                os.write(self._wake_end, b"\0")
        except OSError:  # full: it wakes anyway
            pass

    # the queue

    def _serve(self, *, accepts: bool) -> None:
        """Give free threads to clients, those that return and newcomers in turn."""
        refused = RULE.refused
        while self._busy < self._threads and RULE.refused - refused < BATCH:
            client = self._next(accepts=accepts)
            if client is None:
                break
            self._start(client)
        self._answer_probes()

    def _next(self, *, accepts: bool) -> Client | None:
        for _ in range(2):
            self._newcomer_next = not self._newcomer_next
            client = self._newcomer(accepts=accepts) if self._newcomer_next else self._returned()
            if client is not None:
                return client
        return None

    def _returned(self) -> Client | None:
        while self._returning:
            client = self._returning.popleft()
            if self._admits(client):
                return client
        return None

    def _newcomer(self, *, accepts: bool) -> Client | None:
        for _ in range(BATCH):
            if self._newcomers:
                client: Client | None = self._newcomers.popleft()
            elif accepts and self._more:
                client = self._accept()
            else:
                return None
            if client is None:
                self._more = self._long_queue = False
                return None
            admitted = self._admits(client)
            self._long_queue = (client.wait or 0.0) > REJOIN
            if admitted:
                # one in a turn: another worker may have a free thread too
                self._more = False
                return client
        return None

    def _admits(self, client: Client) -> bool:
        """Judge a request as a thread is free for it; refuse it here if that can be done."""
        if not client.seen:
            self._measure(client)
            if RULE.calm(client.judged):
                client.late = False
                return True
            if not self._peek(client):
                return False
        client.late = not client.exempt and self._is_late(client)
        return not (client.late and self._refuse(client))

    def _is_late(self, client: Client, *, looking: bool = False) -> bool:
        """Tell whether a request has waited too long; the rule sees each wait once, at its end."""
        now = monotonic()
        if now - client.passed < TICK:
            return False
        self._measure(client)
        if looking and not RULE.overloaded(now) and (client.judged or 0.0) <= RULE.limit(now):
            return False
        if RULE.refuses(client.judged, sample=not client.body or client.secret):
            return True
        client.passed = now
        return False

    def _look(self, *, accepts: bool) -> None:
        """While all threads are busy, refuse who has waited too long, and find probes."""
        returning, self._returning = self._returning, deque()
        for each in returning:
            if each.seen:
                self._returning.append(each)
            else:
                self._sort(each)
        self._shed(self._returning)
        self._shed(self._newcomers)
        refused = RULE.refused
        while (
            accepts
            and (self._stood >= STOOD or RULE.overloaded(monotonic()))
            and RULE.refused - refused < BATCH
            and not (self._newcomers and self._soon_served(self._newcomers[-1]))
        ):
            client = self._accept()
            if client is None:
                break
            if client.exempt:
                (self._probes if client.ready else self._newcomers).append(client)
            elif not (self._is_late(client, looking=True) and self._refuse(client)):
                self._newcomers.append(client)
        self._answer_probes()

    def _soon_served(self, client: Client) -> bool:
        """Tell whether some worker may serve this request soon: then leave what is behind it."""
        return client.secret or client.wait is None or client.wait <= AHEAD

    def _shed(self, waiting: deque[Client]) -> None:
        """Refuse the first in a queue, as far as they have waited too long."""
        kept = []
        while waiting:
            client = waiting.popleft()
            if client.exempt or not self._is_late(client, looking=True):
                waiting.appendleft(client)
                break
            if not self._refuse(client):
                kept.append(client)
        waiting.extendleft(reversed(kept))

    def _answer_probes(self) -> None:
        if self._probes and not self._spare_busy:
            self._start(self._probes.popleft(), spare=True)

    def _accept(self) -> Client | None:
        """Take the first in the listener's queue that has sent something."""
        for listener in list(self._listeners):
            while self.nr_conns < self.worker_connections:
                try:
                    sock, address = listener.accept()
                except (BlockingIOError, ConnectionAbortedError):
                    break
                except OSError as error:
                    if error.errno not in FULL:
                        raise
                    sleep(PAUSE)  # until something is closed
                    return None
                if sock.gettimeout():  # the application has set a default
                    sock.settimeout(None)
                self.nr_conns += 1
                self._accepted += 1
                client = Client(sock, self._secret, address, listener)
                if self._peek(client):
                    self._listeners.rotate(-1)
                    return client
        self._drained = self.nr_conns < self.worker_connections
        return None

    def _peek(self, client: Client) -> bool:
        """Look at what a client sent; False if there is nothing for a thread to do."""
        client.forget()
        client.seen = True
        if client.secret and client.conn is not None:
            return True
        try:
            head = client.sock.recv(LONGEST_HEAD, PEEK)
        except BlockingIOError:
            self._await(client, self._silent, SILENT)
            return False
        except OSError:
            head = b""
        if not head:
            self._close(client)
            return False
        line = None if client.secret else REQUEST_LINE.match(head)
        if line is not None:
            client.head = head
            client.exempt = RULE.exempt(line[2].decode("latin-1"))
            client.whole = b"\r\n\r\n" in head
            # what follows the head is a body, or the next request: read it before closing
            client.body = not head.endswith(b"\r\n\r\n") or HAS_BODY.search(head) is not None
        return True

    def _measure(self, client: Client) -> None:
        """Find out how long a request has waited."""
        wait = queue.waited(client.sock)
        if wait is None:
            told = START.search(client.head)
            wait = queue.since_start(told[1].decode("latin-1")) if told else None
        elif client.answered is not None:
            wait = min(wait, monotonic() - client.answered)
        client.wait = wait
        # while workers start, a wait is no sign of overload
        client.judged = None if wait is None else min(wait, monotonic() - self._began)

    def _refuse(self, client: Client) -> bool:
        """Answer 503 to a request whose head is there; no thread and no parser is needed."""
        if not client.whole:
            return False
        with suppress(OSError):
            if not client.body:
                client.sock.recv(LONGEST_HEAD, socket.MSG_DONTWAIT)
            client.sock.send(refusal(client.head), socket.MSG_DONTWAIT)
        RULE.count_wait(client.wait or 0.0)
        RULE.count_refusals()
        (self._end if client.body else self._close)(client)
        return True

    # threads

    def _start(self, client: Client, *, spare: bool = False) -> None:
        self._take(client, spare)
        (self._spare if spare else self.tpool).submit(self._work, client, spare)

    def _take(self, client: Client, spare: bool = False) -> None:
        if client.conn is None:
            name = self._names[client.listener]
            client.conn = gthread.TConn(self.cfg, client.sock, client.address, name)
        if spare:
            self._spare_busy = True
        else:
            self._busy += 1

    def _work(self, client: Client | None, spare: bool) -> None:
        """Answer requests, in a thread: this one, and while all threads are busy the next."""
        while client is not None:
            self._answer(client, spare)
            client = None if spare else self._follow()

    def _follow(self) -> Client | None:
        """Take the next client that waits, unless the loop does; wake it if there is none."""
        if os.getpid() != self._process:
            return None
        with self._state:
            if self._polls or not self.alive:
                return None
            now = monotonic()
            if self._returning and (self._newcomer_next or now - self._looked < GLANCE):
                self._collect()
            else:
                self._attend(self._epoll.poll(0))
                self._looked = 0.0 if self._more else now  # each time while newcomers wait
            if self._busy < self._threads:
                client = self._next(accepts=self._listening)
                if client is not None:
                    self._take(client)
                    return client
                self._wake()
        return None

    def _answer(self, client: Client, spare: bool) -> None:
        self._local.client = client
        client.began, client.called = monotonic(), False
        keep: Any = False
        conn = client.conn
        try:
            conn.data_ready = True
            if not INITS:
                conn.sock.setblocking(True)
                conn.init()
            keep = self.handle(conn)
            if isinstance(keep, tuple):  # gunicorn 23
                keep = keep[0]
        finally:
            self._hand_back(client, spare, keep=keep is True)

    def _hand_back(self, client: Client, spare: bool, *, keep: bool) -> None:
        """Give a connection back, and wake the loop only if it has something to do now.

        epoll takes a socket from any thread; the loop looks at `_done` before it looks at what
        has arrived.
        """
        if os.getpid() != self._process:  # a view has forked, and its child came here
            return
        client.sock, client.passed = client.conn.sock, 0.0
        waits = keep and not self._has_read_ahead(client)
        client.answered = monotonic() if keep else None
        client.idle = waits
        self._done.append((client, keep, spare, monotonic()))
        if waits:
            with suppress(OSError, ValueError):  # it is closed, or the worker has ended
                self._watch(client, self._idle)
        if spare or not self.alive or (self._polls and not waits):
            self._wake()

    def handle_request(self, req: _Request, conn: Any) -> Any:
        """Call the application, unless the request has waited too long."""
        client: Client | None = getattr(getattr(self, "_local", None), "client", None)
        if client is not None and client.conn is conn:
            if not client.seen:
                client.exempt = RULE.exempt(req.path)
            if client.late and not RULE.exempt(req.path):
                html = any(name == "ACCEPT" and "text/html" in value for name, value in req.headers)
                conn.sock.sendall(_render(html, req.method == "HEAD"))
                RULE.count_wait(client.wait or 0.0)
                RULE.count_refusals()
                return False
            client.late = False
            if self._long_queue or (client.wait or 0.0) > REJOIN:
                req.force_close()
        return super().handle_request(req, conn)

    def _keepalive_after(self, conn: Any, keepalive: bool) -> bool:
        """Read the rest of a body, as gunicorn does, unless it was read as a whole.

        To find nothing costs gunicorn three changes of the socket's mode.
        """
        body: Any = getattr(conn.parser.mesg, "body", None)
        left = getattr(getattr(body, "reader", None), "length", None)
        if keepalive and left == 0 and not (getattr(body, "failed", True) or body.buf.tell()):
            conn.parser.mesg = None  # so that it looks no more before the next request
            return True
        return bool(super()._keepalive_after(conn, keepalive))

    def _call(
        self, app: queue.Application, environ: queue.Environ, start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Tell the application how long the request waited."""
        client: Client | None = self._local.__dict__.pop("client", None)
        told = queue.since_start(environ.get("HTTP_X_REQUEST_START"))
        wait = None  # of a further request of HTTP/2
        if client is not None:
            wait, client.called = client.wait, True
        environ[queue.WAITED] = None
        if wait is not None or told is not None:
            environ[queue.WAITED] = max(wait or 0.0, told or 0.0)
            RULE.count_wait(environ[queue.WAITED])
        if "HTTP_TRANSFER_ENCODING" in environ:
            environ["wsgi.input"] = Body(_Chunks(environ["wsgi.input"]))
        return app(environ, start_response)

    def _woke(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._wake_fd, 4096)
        self._woken = False

    def _collect(self) -> None:
        """Take back the connections that threads have finished with."""
        while self._done:
            client, keep, spare, ended = self._done.popleft()
            if spare:
                self._spare_busy = False
            else:
                self._busy -= 1
                if client.called and not client.late and not client.exempt:
                    RULE.took(ended - client.began)
            if not keep:
                self._end(client)
            elif client.idle:
                client.deadline = ended + (self.cfg.keepalive if self.alive else LINGER)
                self._idle[client] = None
            else:
                client.forget()
                client.seen = True  # gunicorn has read it
                self._returning.append(client)

    def _has_read_ahead(self, client: Client) -> bool:
        """Tell whether a next request's bytes were read already, so that epoll sees none."""
        conn = client.conn
        unreader = getattr(conn.parser, "unreader", None)
        buffer = getattr(unreader, "buf", None)
        pending = getattr(client.sock, "pending", None)
        return bool((buffer and buffer.getvalue()) or (pending and pending()))

    # connections without a request

    def _await(self, client: Client, clients: dict[Client, None], seconds: float) -> None:
        self._watch(client, clients)
        client.deadline = monotonic() + seconds
        clients[client] = None

    def _watch(self, client: Client, clients: dict[Client, None]) -> None:
        """Have epoll tell once, when a client sends something or leaves."""
        client.waits_in = clients
        number = client.sock.fileno()
        self._watched[number] = client
        if client.watched:
            self._epoll.modify(number, ONCE)
        else:
            client.watched = True
            self._epoll.register(number, ONCE)

    def _readable(self, client: Client) -> None:
        if client.waits_in is self._ending:
            with suppress(OSError, ValueError):
                try:
                    ended = not client.sock.recv(65536)
                except BlockingIOError:
                    ended = False
                if not ended:
                    self._watch(client, self._ending)
                    return
            self._close(client)
            return
        self._leave(client)
        if client.answered is None:
            self._sort(client)
        else:  # most requests: looked at if they wait
            client.forget()
            self._returning.append(client)

    def _sort(self, client: Client) -> None:
        """Put a client into the queue that it belongs to by what it has sent."""
        if not self._peek(client):
            return
        if client.exempt and client.ready and self._busy >= self._threads:
            self._measure(client)
            self._probes.append(client)
        else:
            (self._returning if client.answered is not None else self._newcomers).append(client)

    def _leave(self, client: Client) -> None:
        if client.waits_in is not None:
            client.waits_in.pop(client, None)
            client.waits_in = None

    def _expire(self, clients: dict[Client, None], now: float) -> None:
        while clients:
            client = next(iter(clients))
            if client.deadline > now:
                break
            self._close(client)

    def _end(self, client: Client) -> None:
        """Close a connection without waiting for its client, who may be sending still.

        Closing it at once would throw away what the client has not read, if anything came.
        """
        try:
            client.sock.setblocking(False)
            client.sock.shutdown(socket.SHUT_WR)
            self._await(client, self._ending, LINGER)
        except (OSError, ValueError):  # it is closed already
            self._close(client)

    def _close(self, client: Client) -> None:
        self.nr_conns -= 1
        self._leave(client)
        number = client.sock.fileno()
        if self._watched.get(number) is client:
            del self._watched[number]
        with suppress(OSError, ValueError):  # the application has closed it
            if client.watched:
                self._epoll.unregister(number)
        with suppress(OSError):  # a child process may have it too
            client.sock.shutdown(socket.SHUT_WR)
        with suppress(OSError):
            client.sock.close()

    # the end

    def _finish(self) -> None:
        """On SIGTERM serve what waits in the queue; end what has begun, and close everything."""
        until = monotonic() + self.cfg.graceful_timeout
        most = self._accepted + (self._standing(self.cfg.backlog) if self._terminated else 0)
        for client in self._idle:
            client.deadline = min(client.deadline, monotonic() + LINGER)
        self._drained = False
        accepts = True
        while monotonic() < until and (accepts or self.nr_conns > 0):
            if accepts:
                with self._state:
                    self._more = True
                    self._serve(accepts=self._accepted < most)
                accepts = self._accepted < most and not self._drained
                if not accepts:
                    self._listen(False)
                    for listener in self.sockets:
                        listener.close()
            if accepts or self.nr_conns > 0:
                self._turn(accepts=accepts)
        self.tpool.shutdown(wait=False)
        self._spare.shutdown(wait=False)
        self.poller.close()
        self._epoll.close()

    def _standing(self, unknown: int = 0) -> int:
        """Return how many connections wait in the listener's queue."""
        found = 0
        for listener in self.sockets:
            try:
                info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, UNACKED.size)
                found += UNACKED.unpack(info)[0]
            except (AttributeError, OSError):  # a unix socket does not say
                found += unknown
        return found


def configure(app: Any) -> None:
    """Have the rule use the settings of an application's pool, else the environment's."""
    pools = getattr(app, "extensions", {}).get("flask_pool")
    values: Any = getattr(pools, "settings", None) or os.environ
    RULE.configure(
        float(values.get("POOL_QUEUE_TARGET", queue.TARGET)),
        float(values.get("POOL_QUEUE_INTERVAL", queue.INTERVAL)),
        values.get("POOL_URL_PREFIX", ""),
    )


def refusal(head: bytes) -> bytes:
    """Return the whole 503 for a request with this head."""
    return _render(WANTS_HTML.search(head) is not None, head.startswith(b"HEAD "))


def _render(html: bool, head: bool) -> bytes:
    return _rendered(html, head, queue.retry_after())


@cache
def _rendered(html: bool, head: bool, retry_after: int) -> bytes:
    headers, body = queue.answer(retry_after, html=html)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    start = f"HTTP/1.1 503 Service Unavailable\r\n{lines}Connection: close\r\n\r\n"
    return start.encode("latin-1") + (b"" if head else body)
