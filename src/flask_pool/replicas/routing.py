"""Which server a read goes to, and which token its client gets."""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic, sleep, time
from typing import Any

from flask import Flask, Response
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.engine import Engine, Result, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import ORMExecuteState
from sqlalchemy.pool import ConnectionPoolEntry

from ..connections import USE
from ..errors import reason_of
from ..options import driver_of, engine_options
from ..reads import Read, invoke, send
from ..requests import RequestState, current
from ..settings import setting_error
from ..sql import only_reads
from ..uses import Use
from .positions import QUESTIONS, UNKNOWN, Position, ask, covers
from .servers import PATIENCE, SELDOM, SOON, Server, is_foreign, stamp
from .tokens import RENEWED, Token, tell, told

GAP = 0.05  # seconds between looks at what replicas have while the primary is away
MOST_KNOWN = 5000  # statements
REMEMBERED = 1500  # looks at the primary: more than fit into any lag that is accepted
SETTING = "SQLALCHEMY_REPLICA_URIS"
# the server keeps the rows of these, whose reader would meet the error of a replica that goes away
KEPT = {"stream_results", "yield_per"}


@dataclass
class Trip:
    """What a request read and wrote, as far as replicas matter."""

    token: Token  # what the client brought back
    told_at: float
    source: Server | None = None  # where it reads from
    seen = False  # the primary was read, or more
    by_hand = False  # and not by a session
    written = ""  # a position that is past all that it wrote
    asked_at = -math.inf  # when that was asked for
    over = False  # the client is told


class Replicas:
    """The replicas of an application's database, and who may read from which."""

    def __init__(self, primary: Engine, replicas: Mapping[str, Engine], lag: float) -> None:
        of_primary, of_replica = QUESTIONS[primary.dialect.driver]
        self.primary = Server(primary, of_primary)
        self.servers = [Server(each, of_replica, name) for name, each in replicas.items()]
        self.lag = lag
        # where the primary was at which moment: so replicas' positions tell how late they are
        self._looks: deque[tuple[float, Position]] = deque(maxlen=REMEMBERED)
        # cache keys of statements that were proven to be plain reads
        self._known: set[Any] = set()

    # which server

    def look(self, seconds: float = SELDOM) -> None:
        """Have all servers be looked at, if the last look is this long ago."""
        for server in (self.primary, *self.servers):
            server.look_within(seconds, self._learn)

    def _learn(self, server: Server, asked: float) -> None:
        """Work out how fresh replicas are, after a look that began at this moment."""
        position, looks = server.position, self._looks
        if server is self.primary and position:
            if looks and not covers(position, looks[-1][1]):  # another primary, with less
                looks.clear()
            looks.append((asked, position))
        before = tuple(looks)
        for replica in self.servers if server is self.primary else [server]:
            known = replica.position or {}
            past = bisect_right(before, False, key=lambda look: not covers(known, look[1]))
            replica.fresh_at = before[past - 1][0] if past else -math.inf

    def usable(self) -> list[Server]:
        """Return the replicas that answer, and are not too late as far as can be known."""
        anyhow = self.primary.away  # nobody can say how late they are
        return [
            server
            for server in self.servers
            if server.position is not None
            and not server.away
            and (anyhow or server.late <= self.lag)
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

    # a statement

    def read(self, state: ORMExecuteState, request: RequestState) -> Result[Any]:
        """Send a session's statement to a replica that may serve it, else to the primary."""
        arguments, primary = state.bind_arguments, self.primary.engine
        if "bind" in arguments or state.session.get_bind(**arguments) is not primary:
            return send(state, Read())
        trip = _trip(request)
        # as SQLAlchemy's documentation has it, in the example of dogpile.cache
        make_key = getattr(state.statement, "_generate_cache_key", lambda: None)
        key = getattr(make_key(), "key", None)
        may_leave = self._may_leave(state, request, trip)
        if not may_leave or not self._only_reads(state.statement, key):
            trip.source = self.primary
        elif trip.source is None:
            trip.source = self.choose(trip.token)
        first = [] if trip.source is self.primary else [trip.source]
        found = self._ask_replicas(state, trip, first)
        return found or self._ask_primary(state, trip, key, may_leave=may_leave)

    def _may_leave(self, state: ORMExecuteState, request: RequestState, trip: Trip) -> bool:
        """Tell whether the request did nothing that only the primary knows of."""
        session = state.session
        return (
            not (request.unproven or trip.by_hand)
            and not (session.new or session.deleted or session.dirty)
            and not KEPT & state.execution_options.keys()
            and all(use.began and not use.claimed for use in self._out(request))
        )

    def _only_reads(self, statement: Any, key: Any) -> bool:
        """Tell whether a statement was proven to only read, or is while there is no primary."""
        if key in self._known or not self.primary.away:
            return key in self._known
        with suppress(Exception):  # of anybody's constructs, and of values to come
            how = {"render_postcompile": True}
            return only_reads(str(statement.compile(self.primary.engine, compile_kwargs=how)))
        return False

    def _ask_replicas(
        self, state: ORMExecuteState, trip: Trip, servers: list[Server]
    ) -> Result[Any] | None:
        """Send a statement to the first of these that answers; None if the primary has to do."""
        for server in servers:
            trip.source = server
            try:
                return invoke(state, Read(), server.engine)
            except (DBAPIError, PoolTimeoutError) as error:
                self._let_go(state, server, error)
        return None

    def _ask_primary(
        self, state: ORMExecuteState, trip: Trip, key: Any, *, may_leave: bool
    ) -> Result[Any]:
        """Send a statement to the primary, and remember what it is; to replicas if it is away."""
        trip.source, mark = self.primary, Read()
        try:
            found = send(state, mark)
        except (DBAPIError, PoolTimeoutError) as error:
            if not may_leave or reason_of(error) not in ("unavailable", "exhausted"):
                raise
            self._let_go(state, self.primary, error)
            others = self._fitting(trip.token) if self._only_reads(state.statement, key) else []
            other = self._ask_replicas(state, trip, others)
            if other is None:
                raise
            return other
        trip.seen = True
        if mark.harmless and key is not None:
            self._known = self._known if len(self._known) < MOST_KNOWN else set()
            self._known.add(key)
        return found

    def _let_go(self, state: ORMExecuteState, server: Server, error: Any) -> None:
        died = getattr(error, "connection_invalidated", False)
        if reason_of(error) == "unavailable" and not (died and server is self.primary):
            server.refused = True  # until the next look; a primary may have lost this one alone
        if died:  # nothing was written: what was loaded is read again where it is needed
            state.session.rollback()

    # what was written and seen

    def _out(self, request: RequestState) -> list[Use]:
        """Return the connections of the primary that the request has not returned."""
        return [use for use in list(request.uses) if use.pool is self.primary.engine.pool]

    def note_return(self, connection: Any, record: ConnectionPoolEntry) -> None:
        """Note what was done with a connection of the primary; listens to `checkin`."""
        use: Use | None = record.info.get(USE)
        request = current()
        if use is not None and request is not None and use.request is request:
            self._note(use, request, connection)

    def _note(self, use: Use, request: RequestState, connection: Any) -> None:
        """Note what a request may have seen, and ask where the log is if it may have written.

        What a session sent before the last time that was asked is committed or rolled back, and
        covered. Of other connections nobody knows when they committed.
        """
        trip = _trip(request)
        covered = not (use.reads or use.other) or use.used_at < trip.asked_at
        if trip.over or (use.began and covered):
            return
        trip.seen, trip.by_hand = True, trip.by_hand or not use.began
        if not request.safe:
            trip.asked_at = monotonic()
            trip.written = self._position(connection)

    def _position(self, connection: Any) -> str:
        try:
            return ask(connection, self.primary.question) or UNKNOWN
        except Exception:  # noqa: BLE001 - of any driver; what was committed is all the same
            return UNKNOWN

    def tell(self, response: Response) -> Response:
        """Have the client bring back what it wrote and saw; an `after_request` function."""
        request = current()
        if request is None:
            return response
        connection = None  # that can be asked something
        for use in self._out(request):
            may_ask = use.began and not response.is_streamed
            connection = getattr(use.proxy(), "driver_connection", None) if may_ask else None
            self._note(use, request, connection)
        trip: Trip | None = request.trip
        if trip is None or not (trip.seen or trip.source):
            return response  # it had nothing to do with the database
        if trip.seen and not request.safe and response.status_code >= 500:
            trip.written = UNKNOWN  # a COMMIT may still be on its way
        trip.over = True
        after = self._next(trip, connection)
        if after != trip.token or time() - trip.told_at > RENEWED:
            tell(response, after, wrote=bool(trip.written))
        if trip.seen:
            self.look(SOON)  # so that the next read may find a replica that has it
        return response

    def _next(self, trip: Trip, connection: Any) -> Token:
        before = trip.token
        if trip.written:
            return Token(trip.written, int(time()))
        if not trip.seen and trip.source is not None:
            return before._replace(seen="", source=trip.source.key)
        seen = stamp()
        # nobody would ever know what a client saw that goes from machine to machine
        if is_foreign(before.seen) and any(each.has(before.written) for each in self.usable()):
            found = self._position(connection)
            seen = seen if found == UNKNOWN else found
        return before._replace(seen=seen, source="")

    # for operators

    def answer(self) -> bool:
        """Look whether there is a replica to read from."""
        self.look(SOON)
        end = monotonic() + PATIENCE / 2
        while not (found := self.usable()) and monotonic() < end:
            sleep(GAP)
        return bool(found)

    def named(self, name: str) -> Server | None:
        """Return the replica of this name, if it is one."""
        return next((server for server in self.servers if server.name == name), None)

    def describe(self, name: str) -> dict[str, Any] | None:
        """Return what this worker knows of a replica; None if it is not one."""
        server = self.named(name)
        if server is None:
            return None
        seconds = round(server.late, 1) if math.isfinite(server.late) else None
        return {"usable": server in self.usable(), "late": seconds}

    def wait_for(self, server: Server) -> float:
        """Wait until a replica has what the primary has; return the seconds, at most the lag."""
        wanted, begun = self.primary.ask() or {}, monotonic()
        while monotonic() - begun < self.lag:
            if covers(server.ask() or {}, wanted):
                break
            sleep(GAP)
        return monotonic() - begun


def _trip(request: RequestState) -> Trip:
    found: Trip = request.trip or Trip(*told())
    request.trip = found
    return found


def make_engines(db: SQLAlchemy, app: Flask, settings: Mapping[str, Any]) -> dict[str, Engine]:
    """Make an engine for each replica, as Flask-SQLAlchemy makes those of binds."""
    urls = [make_url(url) for url in settings[SETTING] or []]
    shared = dict(db._engine_options)  # noqa: SLF001 - and below: there is no other way to them
    given = shared | (app.config.get("SQLALCHEMY_ENGINE_OPTIONS") or {})
    primary, found = db.engines.get(None), {}
    for number, url in enumerate(urls, 1):
        wrong = ""
        if primary is None or primary.dialect.driver not in QUESTIONS:
            of = primary.url.drivername if primary else "no database"
            wrong = f"{of!r} has no replicas; use postgresql+psycopg or mysql+pymysql"
        elif driver_of(url) != primary.dialect.driver:
            wrong = f"use the primary's kind, {primary.url.drivername}://..."
        elif one := {"creator", "pool"} & given.keys():
            wrong = f"the engine option {one.pop()!r} leads to one server alone; use a URL"
        elif not app.secret_key:
            wrong = "what clients bring back is signed; set SECRET_KEY"
        if wrong:
            raise setting_error(f"{SETTING}: {wrong}")
        options = given | engine_options(url, settings, given) | {"url": url}
        options["connect_args"].pop("target_session_attrs", None)  # it takes no changes
        db._apply_driver_defaults(options, app)  # noqa: SLF001
        found[f"replica-{number}"] = db._make_engine(None, options, app)  # noqa: SLF001
    return found
