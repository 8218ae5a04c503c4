"""Reads from replicas: never older than what the client wrote or saw, and never a failure."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import servers
from flask import Flask, has_request_context, request
from flask_pool.extension import Pool, Pools
from flask_pool.replicas.servers import CLOCK
from flask_pool.replicas.tokens import Token
from flask_sqlalchemy import SQLAlchemy
from itsdangerous import URLSafeTimedSerializer
from servers.mariadb_replica import replicated
from servers.standby import Cluster, Standby, cluster
from servers.waiting import wait_until
from sqlalchemy import event, func, select, text
from sqlalchemy.exc import ProgrammingError, SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

HEADER = "Read-After"
CLIENTS, ROUNDS, READS = 20, 5, 7  # reads after each write
LATE = "3s"
LOOKS = 45  # at a server in a second, at most
SECRET = "0123456789abcdef0123456789abcdef"
TABLE = "CREATE TABLE users (id SERIAL PRIMARY KEY, name VARCHAR(50) NOT NULL)"
STANDBY = "SELECT setting FROM pg_catalog.pg_settings WHERE name = 'in_hot_standby'"


class Base(DeclarativeBase):
    """The models of these tests."""


db = SQLAlchemy(model_class=Base)


class User(db.Model):  # type: ignore[name-defined,misc]
    """A row that a client writes and looks for."""

    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(db.String(50))


class Service:
    """An application with replicas, as one worker has it; it counts where statements go."""

    def __init__(self, primary: str, *replicas: str, **settings: Any) -> None:
        self.app = Flask("replicas")
        self.app.config.update(
            SQLALCHEMY_DATABASE_URI=primary,
            SQLALCHEMY_REPLICA_URIS=" ".join(replicas) or None,
            SQLALCHEMY_POOL_SIZE=8,
            SQLALCHEMY_POOL_PING_AFTER=60,
            SQLALCHEMY_CONNECT_TIMEOUT=1,
            SECRET_KEY=SECRET,
        )
        self.app.config.update(settings)
        Pool(self.app, db)
        add_views(self.app)
        self.pools: Pools = self.app.extensions["pool"]
        self.sent: Counter[str] = Counter()
        self.lock = threading.Lock()
        for name, engine in self.pools.engines.items():
            event.listen(engine.pool, "checkout", self.count(name))

    def count(self, name: str) -> Callable[..., None]:
        """Return a listener that counts the connections that requests take."""

        def listener(*_: object) -> None:
            if has_request_context():  # else a look
                with self.lock:
                    self.sent[name] += 1

        return listener

    def close(self) -> None:
        """Close all connections."""
        for engine in self.pools.engines.values():
            engine.dispose()

    def fill(self) -> None:
        """Open the connections that a worker has from its start."""
        for engine in self.pools.engines.values():
            with ExitStack() as stack, suppress(SQLAlchemyError):
                for _ in range(engine.pool.size()):  # type: ignore[attr-defined]
                    stack.enter_context(engine.connect())

    def usable(self) -> list[str]:
        """Return the names of the replicas that are read from."""
        assert self.pools.replicas
        return [server.name for server in self.pools.replicas.usable()]

    def warm(self, *names: str) -> None:
        """Read until just these replicas are used."""

        def there() -> bool:
            client = Client(self)
            assert client.ask("GET", "/users/0").status_code in (200, 404)
            assert client.ask("GET", "/where").status_code == 200
            return self.usable() == list(names)

        wait_until(there, 30)


@contextmanager
def serving(primary: str, *replicas: str, **settings: Any) -> Iterator[Service]:
    """Give a service, and close what it opened."""
    service = Service(primary, *replicas, **settings)
    try:
        service.fill()
        yield service
    finally:
        service.close()


def add_views(app: Flask) -> None:  # noqa: C901, PLR0915 - a view each
    """Add what the tests ask for."""

    @app.post("/users")
    def add() -> Any:
        user = User(name="somebody")
        db.session.add(user)
        db.session.flush()
        found = str(user.id)
        db.session.commit()
        return found, 201

    @app.post("/core")
    def add_with_core() -> Any:
        with db.engine.begin() as connection:
            found = connection.scalar(text("INSERT INTO users (name) VALUES ('core') RETURNING id"))
        return str(found), 201

    @app.post("/raw")
    def add_raw() -> Any:
        with db.engine.connect() as connection:
            raw: Any = connection.connection.driver_connection
            with raw.cursor() as cursor:
                cursor.execute("INSERT INTO users (name) VALUES ('raw') RETURNING id")
                found = cursor.fetchone()[0]
            raw.commit()
        return str(found), 201

    @app.post("/autocommit")
    def add_in_autocommit() -> Any:
        with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            found = connection.scalar(text("INSERT INTO users (name) VALUES ('auto') RETURNING id"))
        return str(found), 201

    @app.post("/look_and_write")
    def look_and_write() -> Any:
        db.session.scalars(select(User)).all()
        time.sleep(3)
        db.session.add(User(name="late"))
        db.session.commit()
        return "", 201

    @app.get("/users/<int:number>")
    def show(number: int) -> Any:
        if request.args.get("on") == "primary":
            db.session.scalar(select(func.now()))
        user = db.session.get(User, number)
        return (user.name, 200) if user else ("", 404)

    @app.get("/where")
    def where() -> Any:
        """Do something, then read, and say what kind of server was read."""
        then = request.args.get("then", "plain")
        if then == "locks":
            db.session.scalars(select(User).with_for_update().limit(1)).all()
        elif then == "now":
            db.session.scalar(select(func.now()))
        elif then == "explicit":
            db.session.begin()
        elif then == "nested":
            db.session.begin_nested()
        elif then == "writes":
            db.session.add(User(name="written"))
            db.session.flush()
        elif then == "new":
            db.session.add(User(name="to be written"))
        elif then == "by_hand":
            with db.engine.connect() as connection:
                connection.scalar(text("SELECT 1"))
        elif then == "claimed":
            db.session.connection()
        return {"standby": db.session.scalar(text(STANDBY)) == "on"}

    @app.get("/by_hand")
    def by_hand() -> Any:
        replica = db.session.scalar(text(STANDBY)) == "on"
        primary = db.session.connection().scalar(text(STANDBY)) == "on"
        return {"replica": replica, "primary": primary}

    @app.get("/wrong_and_on")
    def wrong_and_on() -> Any:
        """Load something, meet an error, and go on with what was loaded."""
        user = db.session.scalars(select(User).order_by(User.id).limit(1)).one()
        with suppress(ProgrammingError):
            db.session.execute(text("SELECT nonsense FROM users"))
        return {"name": user.name}

    @app.get("/long")
    def long() -> Any:
        """Read for some tenths of a second."""
        few = "(SELECT id FROM users ORDER BY id LIMIT 130)"
        query = f"SELECT count(*) FROM {few} a, {few} b, {few} c WHERE a.id > b.id AND b.id > c.id"
        return {"count": db.session.scalar(text(query))}


def sign(token: Token) -> str:
    """Sign what a client brings back."""
    return str(URLSafeTimedSerializer(SECRET, salt="read_after").dumps(token))


def unsign(service: Service, signed: str) -> Token:
    """Read what a client was told."""
    return Token(*URLSafeTimedSerializer(SECRET, salt="read_after").loads(signed))


@dataclass
class Client:
    """A client that brings back what it was told, as cookies or as a header."""

    service: Service
    by_cookie: bool = False
    token: str = ""
    stale: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.client = self.service.app.test_client(use_cookies=self.by_cookie)

    def ask(self, method: str, path: str) -> Any:
        """Send a request and keep what the answer tells."""
        headers = {HEADER: self.token} if self.token and not self.by_cookie else {}
        answer = self.client.open(path, method=method, headers=headers)
        answer.close()
        self.token = answer.headers.get(HEADER, self.token)
        return answer

    def add(self, path: str = "/users") -> str:
        """Add a user and return where it is."""
        answer = self.ask("POST", path)
        assert answer.status_code == 201, answer.text
        return f"/users/{answer.text}"

    def live(self, rounds: int = ROUNDS, reads: int = READS, path: str = "/users") -> None:
        """Write and read for a while, and note what should have been there."""
        for _ in range(rounds):
            place = self.add(path)
            for _ in range(reads):
                answer = self.ask("GET", place)
                assert answer.status_code in (200, 404), answer.text
                if answer.status_code == 404:
                    self.stale.append(place)
                time.sleep(random.uniform(0, servers.paced(0.1)))


def together(*tasks: Callable[[], Any]) -> list[Any]:
    """Run these at the same time."""
    with ThreadPoolExecutor(len(tasks)) as executor:
        return [one.result(120) for one in [executor.submit(task) for task in tasks]]


@pytest.fixture(scope="module")
def calm() -> Iterator[Cluster]:
    """Give a primary and two standbys, which tests leave as they found them."""
    with cluster(2) as found:
        found.primary.rows(TABLE)
        for standby in found.standbys:
            standby.catch_up()
        yield found


@pytest.fixture
def doomed() -> Iterator[Cluster]:
    """Give a primary and a standby that a test may end."""
    with cluster(1) as found:
        found.primary.rows(TABLE)
        found.standbys[0].catch_up()
        yield found


def urls(nodes: Cluster) -> list[str]:
    """Return the URLs of a primary and its standbys."""
    return [node.url() for node in nodes.nodes]


@contextmanager
def steadily(service: Service, path: str, threads: int = 4, method: str = "GET") -> Iterator[Any]:
    """Send requests while the block runs; yield the answers so far."""
    answers: list[Any] = []
    end = threading.Event()

    def repeat() -> None:
        client = Client(service)
        while not end.is_set():
            answers.append(client.ask(method, path))
            time.sleep(0.005)

    with ThreadPoolExecutor(threads) as executor:
        asking = [executor.submit(repeat) for _ in range(threads)]
        try:
            yield answers
        finally:
            end.set()
            for one in asking:
                one.result(120)


def statuses(answers: list[Any]) -> set[int]:
    """Return the statuses of the answers."""
    assert answers
    return {answer.status_code for answer in answers}


@pytest.mark.needs("postgresql")
def test_nobody_who_wrote_reads_anything_older(calm: Cluster) -> None:
    """With one standby three seconds late, and four reads of five from standbys."""
    calm.standbys[1].delay_replay(LATE)
    with serving(*urls(calm)) as service:
        service.warm("replica-1", "replica-2")
        service.sent.clear()
        clients = [Client(service, by_cookie=number % 2 == 0) for number in range(CLIENTS)]
        together(*[client.live for client in clients])
        reads = CLIENTS * ROUNDS * READS
        from_primary = service.sent["default"] - CLIENTS * ROUNDS
        print(f"{from_primary} of {reads} reads went to the primary")
        assert [client.stale for client in clients] == [[]] * CLIENTS
        assert from_primary < 0.2 * reads, service.sent
    calm.standbys[1].delay_replay("0")


@pytest.mark.needs("postgresql")
@pytest.mark.parametrize("way", ["core", "raw", "autocommit"])
def test_what_is_committed_without_a_session_counts_too(calm: Cluster, way: str) -> None:
    """Though nobody tells when it is: the position is asked for as the connection returns."""
    calm.standbys[1].delay_replay(LATE)
    with serving(*urls(calm), SQLALCHEMY_POOL_SIZE=1, SQLALCHEMY_MAX_OVERFLOW=0) as service:
        service.warm("replica-1", "replica-2")
        clients = [Client(service, by_cookie=number % 2 == 0) for number in range(4)]
        for client in clients:
            client.live(3, path=f"/{way}")
        assert [client.stale for client in clients] == [[]] * 4
        assert service.sent["replica-1"] > 10, service.sent
    calm.standbys[1].delay_replay("0")


@pytest.mark.needs("postgresql")
@pytest.mark.parametrize("by_cookie", [False, True])
def test_what_was_seen_once_stays_seen(calm: Cluster, by_cookie: bool) -> None:
    """Of a client that never wrote and goes from worker to worker; one standby is late."""
    calm.standbys[1].delay_replay(LATE)
    with serving(*urls(calm)) as service, serving(*urls(calm)) as other:
        for each in (service, other):
            each.warm("replica-1", "replica-2")
        writer = Client(service)

        def watch(reader: Client, look: str) -> None:
            twin = Client(other, by_cookie)
            found.append((id(reader), reader.ask("GET", place + look).status_code))
            for _ in range(20):
                found.append((id(reader), reader.ask("GET", place).status_code))
                if not by_cookie:
                    twin.token = reader.token
                    found.append((id(reader), twin.ask("GET", place).status_code))
                    reader.token = twin.token

        for _ in range(3):
            place, found = writer.add(), list[tuple[int, int]]()
            readers = [Client(service, by_cookie) for _ in range(8)]
            looks = ["", "?on=primary"] * 4
            together(*[partial(watch, *each) for each in zip(readers, looks, strict=True)])
            for reader in readers:
                seen = [status for who, status in found if who == id(reader)]
                assert seen == sorted(seen, reverse=True), seen  # no 200 before a 404
    calm.standbys[1].delay_replay("0")


@pytest.mark.needs("postgresql")
def test_a_client_that_goes_from_machine_to_machine_comes_to_replicas_too(calm: Cluster) -> None:
    """What another machine's clock says tells nothing here: the primary's log is asked, once."""
    with serving(*urls(calm)) as service:
        service.warm("replica-1", "replica-2")
        client = Client(service)
        client.token = sign(Token(seen="another@0.000001"))
        assert not client.ask("GET", "/where").json["standby"]
        assert unsign(service, client.token).seen.partition("/")[1]
        wait_until(lambda: client.ask("GET", "/where").json["standby"], 10)
        # a primary read is bound to what it may have seen, without asking anything
        client.token = ""
        client.ask("GET", "/where?then=now")
        assert unsign(service, client.token).seen.startswith(f"{CLOCK}@")


@pytest.mark.needs("postgresql")
def test_a_read_is_one_round_trip_and_a_write_four(
    calm: Cluster, proxy: Callable[[int], servers.Proxy]
) -> None:
    """With what clients bring back, too."""
    between = [proxy(node.port) for node in calm.nodes]
    addresses = [node.url(port=one.port) for node, one in zip(calm.nodes, between, strict=True)]
    with serving(*addresses, SQLALCHEMY_REPLICA_LAG=30) as service:
        service.warm("replica-1", "replica-2")
        client = Client(service)
        place = client.add()
        wait_until(lambda: client.ask("GET", place).status_code == 200)
        replicas = service.pools.replicas
        assert replicas
        # looks at the servers cost a few more, however many requests there are
        before, started = sum(one.round_trips for one in between), time.monotonic()
        with steadily(service, place) as answers:
            time.sleep(2)
        looks = sum(one.round_trips for one in between) - before - len(answers)
        assert 0 < looks < LOOKS * len(between) * (time.monotonic() - started)
        replicas.look = lambda seconds=0: None  # type: ignore[method-assign]
        time.sleep(1)  # for the last look to end

        def assert_costs(trips: int, ask: Callable[[], Any], times: int = 100) -> None:
            for _ in range(2 * times):  # psycopg prepares what it sees often
                ask()
            before = sum(one.round_trips for one in between)
            assert statuses([ask() for _ in range(times)]) <= {200, 201}
            assert sum(one.round_trips for one in between) - before == trips * times

        assert_costs(1, lambda: Client(service).ask("GET", place))
        assert_costs(1, lambda: client.ask("GET", place))
        assert_costs(4, lambda: client.ask("POST", "/users"))
        assert_costs(4, lambda: client.ask("POST", "/core"))
        # a read that no replica is known to be fit for costs the primary no more
        service.sent.clear()
        place = client.add()
        assert_costs(1, lambda: client.ask("GET", place))
        assert service.sent["default"] == 301


@pytest.mark.needs("postgresql")
@pytest.mark.parametrize(
    "probe", ["locks", "now", "explicit", "nested", "writes", "new", "by_hand", "claimed"]
)
def test_whatever_is_no_plain_read_goes_to_the_primary(calm: Cluster, probe: str) -> None:
    """And so does what follows in the same request."""
    calm.primary.rows("INSERT INTO users (name) VALUES ('one')")
    with serving(*urls(calm)) as service:
        service.warm("replica-1", "replica-2")
        answers = [Client(service).ask("GET", "/where") for _ in range(10)]
        assert all(answer.json["standby"] for answer in answers)
        answers = [Client(service).ask("GET", f"/where?then={probe}") for _ in range(10)]
        assert statuses(answers) == {200}
        assert not any(answer.json["standby"] for answer in answers)


@pytest.mark.needs("postgresql")
def test_the_first_of_a_statement_goes_to_the_primary(calm: Cluster) -> None:
    """In each worker, which proves it there."""
    with serving(*urls(calm)) as service:
        service.warm("replica-1", "replica-2")
        service.sent.clear()
        for _ in range(3):
            assert Client(service).ask("GET", "/long").status_code == 200
        assert service.sent["default"] == 1, service.sent


@pytest.mark.needs("postgresql")
def test_who_saw_the_primary_by_hand_sees_nothing_older(calm: Cluster) -> None:
    """Though the same request read from a replica before."""
    with serving(*urls(calm)) as service:
        service.warm("replica-1", "replica-2")
        client = Client(service)
        assert client.ask("GET", "/where").json["standby"]
        for standby in calm.standbys:
            standby.pause_replay()
        try:
            calm.primary.rows("INSERT INTO users (name) VALUES ('seen')")
            assert client.ask("GET", "/by_hand").json == {"replica": True, "primary": False}
            answers = [client.ask("GET", "/where") for _ in range(20)]
            assert not any(answer.json["standby"] for answer in answers)
        finally:
            for standby in calm.standbys:
                standby.resume_replay()
        wait_until(lambda: client.ask("GET", "/where").json["standby"], 10)


@pytest.mark.needs("postgresql")
def test_an_error_that_is_caught_leaves_what_was_loaded(calm: Cluster) -> None:
    """As it does without replicas, whichever server found it."""
    calm.primary.rows("INSERT INTO users (name) VALUES ('loaded')")
    for standby in calm.standbys:
        standby.catch_up()
    with serving(*urls(calm)) as service:
        service.warm("replica-1", "replica-2")
        assert statuses([Client(service).ask("GET", "/wrong_and_on") for _ in range(5)]) == {200}


@pytest.mark.needs("postgresql")
def test_a_stopped_standby_costs_no_request(calm: Cluster) -> None:
    """It is left out, and comes back by itself, as another one for those who read from it."""
    with serving(*urls(calm)) as service:
        service.warm("replica-1", "replica-2")
        assert service.pools.replicas
        server = service.pools.replicas.servers[0]
        before = server.key
        with steadily(service, "/users/1") as answers, steadily(service, "/where") as others:
            calm.standbys[0].stop(crash=True)
            service.warm("replica-2")
            calm.standbys[0].start()
            service.warm("replica-1", "replica-2")
        assert statuses(answers) <= {200, 404}
        assert statuses(others) == {200}
        assert server.key != before


@pytest.mark.needs("postgresql")
def test_a_paused_standby_is_left_out_when_it_is_too_late(calm: Cluster) -> None:
    """Later than SQLALCHEMY_REPLICA_LAG by what the primary wrote; back when it has caught up."""
    with serving(*urls(calm), SQLALCHEMY_REPLICA_LAG=2) as service:
        service.warm("replica-1", "replica-2")
        calm.standbys[0].pause_replay()
        try:
            with steadily(service, "/users", threads=1, method="POST"):
                service.warm("replica-2")
        finally:
            calm.standbys[0].resume_replay()
        service.warm("replica-1", "replica-2")


@pytest.mark.needs("postgresql")
def test_a_recovery_conflict_fails_no_request(calm: Cluster) -> None:
    """The standby cancels reads that are in its way; they are asked of the primary."""
    for standby in calm.standbys:
        servers.standby.configure(standby, "max_standby_streaming_delay", "0")
    calm.primary.rows("INSERT INTO users (name) SELECT 'many' FROM generate_series(1, 200)")

    def conflicts() -> int:
        question = "SELECT sum(confl_lock) AS n FROM pg_stat_database_conflicts"
        return sum(int(standby.rows(question)[0]["n"]) for standby in calm.standbys)

    with serving(*urls(calm), SQLALCHEMY_STATEMENT_TIMEOUT=60) as service:
        service.warm("replica-1", "replica-2")
        with steadily(service, "/long") as answers:
            for _ in range(40):
                calm.primary.rows("ALTER TABLE users ALTER COLUMN name TYPE varchar(50)")
                time.sleep(0.1)
                if conflicts() > 2 and len(answers) > 20:
                    break
    assert conflicts() > 0, "no conflict was brought about"
    assert statuses(answers) == {200}


@pytest.mark.needs("postgresql")
def test_a_promoted_standby_is_read_no_more(doomed: Cluster) -> None:
    """It is a primary of its own, whose positions say nothing."""
    with serving(*urls(doomed)) as service:
        service.warm("replica-1")
        with steadily(service, "/where") as answers:
            doomed.standbys[0].promote()
            service.warm()
        assert statuses(answers) == {200}
        client = Client(service)
        client.live(2)
        assert client.stale == []  # what is written now is not there


@pytest.mark.needs("postgresql")
def test_without_a_primary_reads_go_on(doomed: Cluster) -> None:
    """Writes are 503, a worker that is new reads too, and with no replica left all is 503."""
    standby: Standby = doomed.standbys[0]
    with serving(*urls(doomed)) as service, serving(*urls(doomed)) as new:
        service.warm("replica-1")
        clients = [Client(service) for _ in range(4)]
        places = [client.add() for client in clients]
        for client, place in zip(clients, places, strict=True):
            assert client.ask("GET", place).status_code == 200
        standby.catch_up()
        with steadily(service, "/where") as answers:
            doomed.primary.stop(crash=True)
            for client, place in zip(clients * 5, places * 5, strict=True):
                assert client.ask("GET", place).status_code == 200
            refused = [Client(service).ask("POST", "/users") for _ in range(5)]
            assert service.pools.reads_go_on()
        assert statuses(answers) == {200}
        assert statuses(refused) == {503}

        assert new.pools.reads_go_on()
        assert Client(new).ask("GET", places[0]).status_code == 200
        assert Client(new).ask("GET", "/where").json["standby"]
        assert Client(new).ask("GET", "/where?then=locks").status_code == 503

        standby.stop(crash=True)
        wait_until(lambda: not service.pools.reads_go_on())
        assert Client(service).ask("GET", "/where").status_code == 503
        doomed.primary.start()
        wait_until(lambda: Client(service).ask("GET", "/where").status_code == 200)
        assert Client(service).ask("POST", "/users").status_code == 201


@pytest.mark.needs("postgresql")
def test_operators_see_what_is_known_of_each_replica(doomed: Cluster) -> None:
    """Whether it is used and how late it is; and whether it can catch up."""
    with serving(*urls(doomed), SQLALCHEMY_REPLICA_LAG=2) as service:
        service.warm("replica-1")
        replicas = service.pools.replicas
        assert replicas
        assert list(service.pools.engines) == ["default", "replica-1"]
        found = replicas.describe("replica-1")
        assert found
        assert found["usable"]
        assert found["late"] < 2
        assert replicas.describe("default") is None
        server = replicas.named("replica-1")
        assert server
        assert replicas.wait_for(server) < 2
        doomed.standbys[0].pause_replay()
        doomed.primary.rows("INSERT INTO users (name) VALUES ('late')")
        assert replicas.wait_for(server) >= 2
        doomed.standbys[0].resume_replay()


@pytest.mark.needs("mariadb")
def test_a_mariadb_replica_is_never_older_either() -> None:
    """By its GTID; it may be stopped, and so may its primary."""
    with replicated() as (primary, replica):
        addresses = primary.url("service"), replica.url("service")
        with serving(*addresses) as service:
            with service.app.app_context():
                db.create_all()
            wait_until(lambda: "users" in str(replica.rows("SHOW TABLES FROM service")))
            client = Client(service)

            def used(*names: str) -> bool:
                assert client.ask("GET", "/users/1").status_code in (200, 404)
                return service.usable() == list(names)

            wait_until(lambda: used("replica-1"), 30)
            service.sent.clear()
            clients = [Client(service, by_cookie=number % 2 == 0) for number in range(8)]
            together(*[lambda one=one: one.live(3) for one in clients])
            assert [one.stale for one in clients] == [[]] * 8
            print(service.sent)
            assert service.sent["replica-1"] > 0.8 * 8 * 3 * READS, service.sent

            with steadily(service, "/users/1") as answers:
                replica.rows("STOP SLAVE SQL_THREAD")
                late = Client(service)
                place = late.add()
                assert late.ask("GET", place).status_code == 200
                replica.rows("START SLAVE SQL_THREAD")
                replica.stop(crash=True)
                wait_until(lambda: used(), 30)
                replica.start()
                wait_until(lambda: used("replica-1"), 30)
                primary.stop(crash=True)
                time.sleep(1)
                assert service.pools.reads_go_on()
            assert statuses(answers) == {200}
            assert Client(service).ask("POST", "/users").status_code == 503
