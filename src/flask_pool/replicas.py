"""Reads from replicas that have all that this client wrote or saw: positions, not clocks.

A write's answer carries the position of its commit in the primary's log, signed. A safe request
that brings it back reads from a replica that is past it, as far as this worker has looked, and
from the primary if there is none. Whatever is not surely a plain read goes to the primary.
"""

from __future__ import annotations

import logging
import math
import os
import random
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from threading import Thread
from time import monotonic, sleep, time
from typing import Any, NamedTuple
from zlib import crc32

from flask import Flask, Response, current_app, request
from flask_sqlalchemy import SQLAlchemy
from itsdangerous import BadData, URLSafeTimedSerializer
from sqlalchemy import event, text
from sqlalchemy.engine import Engine, Result
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import ORMExecuteState, SessionTransactionOrigin

from .errors import reason_of
from .queue_pool import FairQueuePool
from .requests import RequestState as Attempt
from .requests import current
from .settings import SettingError

logger = logging.getLogger(__name__)

COOKIE, SEEN_COOKIE, HEADER = "read_after", "read_after_seen", "Read-After"
VALID = 30  # seconds: a log's positions mean nothing after a fail-over, so they must not last
RENEWED = 10  # seconds after which a client is told again what has not changed
SOON, SELDOM = 0.03, 1.0  # seconds between looks at a server that somebody waits for, and others
SPREAD = 0.25  # of these: workers must not look in step
PATIENCE = 1.0  # seconds that a look may take before its server counts as away
GAP = 0.05  # seconds between looks at what replicas have while the primary is away
REMEMBERED = 128  # looks at the primary, half a second apart: more than any lag that is accepted

UNKNOWN = "?"  # a position of which only the primary is sure
# how a primary and a replica say where they are in the primary's log, by driver
POSITIONS = {
    "psycopg": (
        "SELECT CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_insert_lsn()::text END",
        "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()::text END",
    ),
    "pymysql": ("SELECT @@gtid_current_pos", "SELECT @@gtid_slave_pos"),  # MariaDB's
}


class NeedsPrimary(Exception):
    pass


Position = dict[int, int]  # how far each stream of changes is; PostgreSQL has one


def parse(position: str) -> Position:
    """Read a position as PostgreSQL (an LSN) or MariaDB (a GTID) writes it."""
    high, slash, low = position.partition("/")
    if slash:
        return {0: (int(high, 16) << 32) + int(low, 16)}
    parts = (gtid.split("-") for gtid in position.split(",") if gtid)
    return {int(domain): int(number) for domain, _, number in parts}


def covers(known: Position, wanted: Position) -> bool:
    """Tell whether a position is past another one."""
    return all(known.get(domain, -1) >= number for domain, number in wanted.items())


class Token(NamedTuple):
    """What a client wrote and saw: positions, "" for none, and what it read from."""

    written: str = ""
    written_at: int = 0  # seconds since 1970
    seen: str = ""
    source: str = ""  # a replica, which is at least where it was then


class Server:
    """A server, and what this worker knows of it."""

    def __init__(self, engine: Engine, question: str, name: str = "primary") -> None:
        url = engine.url
        self.engine = engine
        self.name = name
        # the same in every worker and for every order of the setting
        self.key = f"{crc32(repr((url.host, url.port, url.query.get('host'))).encode()):x}"
        self.question = text(question)
        self.position: Position | None = None  # that it has reached, at least
        self.fresh_at = -math.inf  # all that was committed before it is there
        self.refused = False  # it could not be reached, last
        self._looked = -math.inf
        self._looks: tuple[int, float] | None = None  # in which process, since when

    @property
    def away(self) -> bool:
        """Whether it could not be reached, or lets somebody wait."""
        looks, pool = self._looks, self.engine.pool
        if looks is None or looks[0] != os.getpid() or monotonic() - looks[1] <= PATIENCE:
            return self.refused
        busy = isinstance(pool, FairQueuePool) and pool.waiting() > 0  # the look waits in line
        return self.refused or not busy

    def has(self, *positions: str) -> bool:
        """Tell whether it is surely past these positions."""
        known = self.position
        return (
            known is not None
            and UNKNOWN not in positions
            and all(covers(known, parse(position)) for position in positions)
        )

    def look_within(self, seconds: float, replicas: Replicas) -> None:
        """Have a thread look at the server, unless one did so a moment ago."""
        now, looks = monotonic(), self._looks
        wait = seconds * random.uniform(1 - SPREAD, 1 + SPREAD)  # noqa: S311
        if now - self._looked < wait or (looks and looks[0] == os.getpid()):
            return
        self._looks, self._looked = (os.getpid(), now), now
        try:
            Thread(target=self._look, args=(replicas,), daemon=True).start()
        except RuntimeError:  # no more threads: the next request may have one
            self._looks = None

    def ask(self) -> Position | None:
        """Ask it where it is; None for a replica that became a primary, or the reverse."""
        with self.engine.connect() as connection:
            alone = connection.execution_options(isolation_level="AUTOCOMMIT")
            said = alone.scalar(self.question)
            if said is None:
                connection.invalidate()  # the next one may find another server
        return None if said is None else parse(said)

    def _look(self, replicas: Replicas) -> None:
        asked, before = monotonic(), self.refused
        try:
            self.position = self.ask()
            self.refused = self.position is None
        except PoolTimeoutError:
            pass  # it is there, and busy
        except (SQLAlchemyError, ValueError):
            self.refused = True
        finally:
            self._looks = None
        if self.refused != before:
            logger.warning("%s: %s", self.name, "away" if self.refused else "there again")
        replicas.learn(self, asked)


class Replicas:
    """The replicas of an application's database, and who may read from which."""

    def __init__(self, app: Flask, primary: Engine, replicas: dict[str, Engine]) -> None:
        of_primary, of_replica = POSITIONS[primary.dialect.driver]
        self.primary = Server(primary, of_primary)
        self.servers = [Server(each, of_replica, name) for name, each in replicas.items()]
        self.lag: float = app.config["SQLALCHEMY_REPLICA_LAG"]
        self._history: deque[tuple[float, Position]] = deque(maxlen=REMEMBERED)

    def learn(self, server: Server, asked: float) -> None:
        """Work out how fresh replicas are, after a look that was begun at this time."""
        position, history = server.position, self._history
        recent = history and asked - history[-1][0] < SELDOM / 2
        if server is self.primary and position is not None and not recent:
            history.append((asked, position))
        for replica in self.servers if server is self.primary else [server]:
            for then, reached in reversed(tuple(history)):
                if replica.position is not None and covers(replica.position, reached):
                    replica.fresh_at = max(replica.fresh_at, then)
                    break

    def look(self, seconds: float = SELDOM) -> None:
        """Have all servers be looked at, if the last look is this long ago."""
        for server in (self.primary, *self.servers):
            server.look_within(seconds, self)

    def late(self, server: Server) -> float:
        """Return the seconds that a replica is behind the primary, at most."""
        return monotonic() - server.fresh_at

    def usable(self) -> list[Server]:
        """Return the replicas that answer, and are not too late as far as can be known."""
        anyhow = self.primary.away  # nobody can say how late they are
        return [
            server
            for server in self.servers
            if server.position is not None
            and not server.away
            and (anyhow or self.late(server) <= self.lag)
        ]

    def choose(self, token: Token) -> Server:
        """Return where this client reads from: a replica, or the primary."""
        fitting = self._fitting(token)
        waited_for = token.written or token.seen or any(not each.position for each in self.servers)
        self.look(SELDOM if fitting or not waited_for else SOON)
        end = monotonic() + PATIENCE
        while not fitting and self.primary.away and self.usable() and monotonic() < end:
            sleep(GAP)
            self.look(SOON)
            fitting = self._fitting(token)
        return random.choice(fitting or [self.primary])  # noqa: S311

    def _fitting(self, token: Token) -> list[Server]:
        usable = self.usable()
        same = [server for server in usable if server.key == token.source]
        if same and same[0].has(token.written):
            return same
        if self.primary.away:  # what was only seen may be seen no more, what was written must be
            return [server for server in usable if server.has(token.written)]
        if token.source:
            return []
        return [server for server in usable if server.has(token.written, token.seen)]

    def answer(self) -> bool:
        """Look whether there is a replica to read from."""
        self.look(SOON)
        end = monotonic() + PATIENCE / 2
        while not self.usable() and monotonic() < end:
            sleep(GAP)
        return bool(self.usable())

    def named(self, name: str) -> Server | None:
        """Return the replica of this name, if it is one."""
        return next((server for server in self.servers if server.name == name), None)

    def describe(self, name: str) -> dict[str, Any] | None:
        """Return what this worker knows of a replica; None for what is none."""
        server = self.named(name)
        if server is None:
            return None
        late = self.late(server)
        seconds = round(late, 1) if math.isfinite(late) else None
        return {"usable": server in self.usable(), "late": seconds}

    def wait_for(self, server: Server) -> float:
        """Wait until a replica has what the primary has; return the seconds, at most the lag."""
        wanted, begun = self.primary.ask() or {}, monotonic()
        while monotonic() - begun < self.lag:
            if covers(server.ask() or {}, wanted):
                break
            sleep(GAP)
        return monotonic() - begun

    # a statement

    def read(self, state: ORMExecuteState) -> Result[Any] | None:
        """Run a session's statement where it belongs; None for the primary."""
        attempt = current.get()
        if attempt is None or not self._may_read(state, attempt):
            return None
        if attempt.source is None:
            attempt.told = told()
            attempt.source = self.choose(attempt.told[0])
        elif attempt.source not in (self.primary, *self.servers):  # another application's
            return None
        if attempt.seen:  # the primary was read by hand
            attempt.source = self.primary
        for server in self._one_after_another(attempt):
            attempt.source, before = server, attempt.died
            try:
                return state.invoke_statement(bind_arguments={"bind": server.engine})
            except NeedsPrimary:
                attempt.source = self.primary
                return None
            except (DBAPIError, PoolTimeoutError) as error:
                reason = reason_of(error)
                gone = reason in ("unavailable", "exhausted")
                died = getattr(error, "connection_invalidated", False)
                if server is self.primary and not gone:
                    raise
                # until the next look; a primary may have lost this one connection alone
                if reason not in (None, "exhausted") and not (died and server is self.primary):
                    server.refused = True
                if server is self.primary and not self._fitting(attempt.told[0]):
                    raise
                if died:  # nothing was written: what was loaded is read again where it is needed
                    with suppress(SQLAlchemyError):
                        state.session.rollback()
                attempt.died = before
        return None

    def _may_read(self, state: ORMExecuteState, attempt: Attempt) -> bool:
        session = state.session
        transaction = session.get_transaction()
        return (
            attempt.safe
            and not attempt.transaction
            and not session.twophase
            and not (state.is_insert or state.is_update or state.is_delete)
            and "bind" not in state.bind_arguments
            and not (session.new or session.deleted or session.dirty)
            and not session.in_nested_transaction()
            and (transaction is None or transaction.origin is SessionTransactionOrigin.AUTOBEGIN)
            and session.get_bind(**state.bind_arguments) is self.primary.engine
        )

    def _one_after_another(self, attempt: Attempt) -> Iterator[Server]:
        yield attempt.source
        if attempt.source is not self.primary:
            yield self.primary
        yield from self._fitting(attempt.told[0])
        yield self.primary  # whose error is the answer


def make_engines(db: SQLAlchemy, app: Flask, settings: Any) -> dict[str, Engine]:
    """Make an engine for each replica, as Flask-SQLAlchemy makes those of binds."""
    return {}


def read_from(app: Flask, primary: Engine, engines: dict[str, Engine]) -> Replicas:
    """Have sessions read from replicas, and tell clients what they are to bring back."""
    return Replicas(app, primary, engines)


def _read(state: ORMExecuteState) -> Result[Any] | None:
    if current.get() is None:
        return None
    replicas: Replicas | None = current_app.extensions["pool"].replicas
    return replicas.read(state) if replicas else None


def _follow(connection: Any, record: object) -> None:
    connection.follows = True  # says where the log is after each commit and read


def _only_read(connection: Any, record: object) -> None:
    connection.only_reads = True  # what fails here is asked of the primary


# what clients bring back


def _serializer() -> URLSafeTimedSerializer:
    keys = [*(current_app.config.get("SECRET_KEY_FALLBACKS") or ()), current_app.secret_key]
    return URLSafeTimedSerializer(keys, salt=COOKIE)


def told() -> tuple[Token, float]:
    """Return what this client wrote and saw, if still valid, and when it was told that."""
    header = request.headers.get(HEADER)
    if header:
        return _read_token(header)
    wrote, _ = _read_token(request.cookies.get(COOKIE))
    saw, at = _read_token(request.cookies.get(SEEN_COOKIE))
    if wrote.written_at >= saw.written_at:
        saw = saw._replace(written=wrote.written, written_at=wrote.written_at)
    return saw, at


def _read_token(signed: str | None) -> tuple[Token, float]:
    if not signed:
        return Token(), 0.0
    try:
        found, at = _serializer().loads(signed, return_timestamp=True)
        token = Token(*found)
    except (BadData, TypeError):
        return Token(), 0.0
    now = time()  # another machine's clock may be ahead
    if abs(now - at.timestamp()) > VALID:
        return Token(), 0.0
    if token.written and now - token.written_at > VALID:
        token = token._replace(written="", written_at=0)
    return token, at.timestamp()


def _tell(response: Response) -> Response:
    attempt = current.get()
    if attempt is None or not (
        attempt.written or attempt.seen or attempt.transaction or attempt.source
    ):
        return response  # it had nothing to do with the database
    replicas: Replicas = current_app.extensions["pool"].replicas
    if attempt.written:
        replicas.look(SOON)  # so that the next read may find a replica that has it
    before, at = attempt.told or told()
    after = _next(before, attempt, replicas)
    if after is not None and (after != before or time() - at > RENEWED):
        signed = _serializer().dumps(after)
        response.headers[HEADER] = signed
        response.set_cookie(
            # a read that began before a write must not take its cookie's place
            COOKIE if attempt.written else SEEN_COOKIE,
            signed,
            max_age=VALID,
            path=current_app.session_interface.get_cookie_path(current_app),
            secure=request.is_secure,
            httponly=True,
            samesite="Lax",
        )
    return response


def _next(before: Token, attempt: Attempt, replicas: Replicas) -> Token | None:
    """Return what the client is to bring back next time; None if it need not."""
    if attempt.written:
        return Token(attempt.written, int(time()))
    replica = attempt.source if attempt.source is not replicas.primary else None
    if attempt.transaction or (attempt.seen and replica):
        return before._replace(seen=UNKNOWN, source="")
    if replica:
        return before._replace(seen="", source=replica.key)
    return before._replace(seen=attempt.seen, source="") if attempt.seen else None
