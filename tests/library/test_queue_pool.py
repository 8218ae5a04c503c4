"""The pool's class alone: no application, and no listener on the engine."""

from __future__ import annotations

import gc
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from importlib import import_module
from random import Random
from threading import Barrier, Lock, local
from time import sleep, time
from typing import Any

import pytest
from flask_pool import FairQueuePool
from flask_pool.connections import Socket, ask_socket
from flask_pool.observer import Observer
from pymysql.constants.COMMAND import COM_QUERY
from servers import wait_until
from sqlalchemy import create_engine, event, text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import ArgumentError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from .conftest import LONG, Database, detach, fail, forget, invalidate, is_dead, on

queue_pool: Any = import_module(FairQueuePool.__module__)

Make = Callable[..., Engine]


@pytest.fixture
def make(database_url: str) -> Iterator[Make]:
    """Make an engine with a pool of two connections and one more."""
    made: list[Engine] = []

    def make_engine(**options: Any) -> Engine:
        defaults: dict[str, Any] = {"pool_size": 2, "max_overflow": 1, "pool_timeout": LONG}
        engine = create_engine(database_url, poolclass=FairQueuePool, **defaults | options)
        made.append(engine)
        return engine

    yield make_engine
    for engine in made:
        engine.dispose()


@pytest.fixture
def engine(make: Make) -> Engine:
    return make()


def pool(engine: Engine) -> FairQueuePool:
    assert isinstance(engine.pool, FairQueuePool)
    return engine.pool


def use(engine: Engine) -> None:
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT 1")) == 1


def opened(engine: Engine) -> list[Any]:
    """Return a list that every connection is added to that is opened from now on."""
    found: list[Any] = []
    event.listen(engine, "connect", lambda connection, _: found.append(connection))
    return found


def in_line(engine: Engine, threads: ThreadPoolExecutor) -> Future[Any]:
    """Return somebody who waits for a connection."""
    before = pool(engine).waiting()
    waiter = threads.submit(engine.connect)
    while pool(engine).waiting() == before:
        assert not waiter.done()
        sleep(0.001)
    return waiter


def test_pool_size_connections_are_kept_and_overflow_is_closed(engine: Engine) -> None:
    found = opened(engine)
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(engine.connect())
        assert (pool(engine).checkedout(), pool(engine).overflow()) == (3, 1)

    assert len(found) == 3
    assert (pool(engine).checkedin(), pool(engine).checkedout()) == (2, 0)


def test_connections_are_handed_out_first_in_first_out(make: Make) -> None:
    engine = make()
    first, second = engine.connect(), engine.connect()
    order = [each.connection.dbapi_connection for each in (second, first)]
    second.close()
    first.close()

    with engine.connect() as third, engine.connect() as fourth:
        assert [each.connection.dbapi_connection for each in (third, fourth)] == order


def test_waiters_are_served_in_the_order_in_which_they_came(make: Make) -> None:
    engine = make(pool_size=1, max_overflow=0)
    with ThreadPoolExecutor(3) as threads:
        held = engine.connect()
        waiters = [in_line(engine, threads) for _ in range(3)]
        for waiter in waiters:
            held.close()
            held = waiter.result(LONG)
            assert pool(engine).waiting() == sum(not each.done() for each in waiters)
        held.close()


def test_threads_in_a_hurry_get_equal_shares(make: Make) -> None:
    engine, threads = make(max_overflow=0), 10
    counts = [0] * threads
    start = Barrier(threads)

    def loop(number: int) -> None:
        start.wait()
        while sum(counts) < 200 * threads:
            with engine.connect():
                sleep(0.0005)
            counts[number] += 1

    with ThreadPoolExecutor(threads) as executor:
        list(executor.map(loop, range(threads)))

    assert max(counts) <= 1.5 * min(counts)


def test_a_connection_is_never_used_by_two_threads_at_once(engine: Engine) -> None:
    in_use: set[int] = set()
    lock = Lock()

    def checkout(_: int) -> None:
        with engine.connect() as connection:
            identity = id(connection.connection.dbapi_connection)
            with lock:
                assert identity not in in_use
                in_use.add(identity)
            connection.scalar(text("SELECT 1"))
            with lock:
                in_use.remove(identity)

    with ThreadPoolExecutor(12) as threads:
        list(threads.map(checkout, range(300)))

    assert pool(engine).checkedout() == 0


@pytest.fixture
def slow(make: Make) -> Engine:
    """One connection and one more, which takes a while to open; the first is there."""
    engine = make(pool_size=1, max_overflow=1)
    event.listen(engine, "do_connect", lambda *_: sleep(0.1))
    use(engine)
    return engine


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> Callable[[Engine], None]:
    """Have an engine take connecting for very slow."""

    def be_patient(engine: Engine) -> None:
        monkeypatch.setattr(queue_pool, "PATIENCE", LONG)
        pool(engine)._connect_time = LONG

    return be_patient


def test_who_gets_a_connection_back_soon_opens_none(
    slow: Engine, patient: Callable[[Engine], None]
) -> None:
    found = opened(slow)
    patient(slow)

    with ThreadPoolExecutor(3) as threads:
        held = slow.connect()
        waiters = [in_line(slow, threads) for _ in range(3)]
        for waiter in waiters:
            held.close()
            held = waiter.result(LONG)
        held.close()

    assert not found


def test_who_waits_for_longer_than_connecting_takes_opens_one_more(slow: Engine) -> None:
    found = opened(slow)

    with slow.connect(), ThreadPoolExecutor(1) as threads:
        threads.submit(use, slow).result(LONG)

    assert len(found) == 1


def test_nobody_waits_for_a_connection_if_none_comes_back(
    make: Make, patient: Callable[[Engine], None]
) -> None:
    engine = make(pool_size=1)
    with engine.connect(), ThreadPoolExecutor(1) as threads:
        patient(engine)
        threads.submit(use, engine).result(LONG / 2)


def test_nobody_is_refused_for_a_patient_waiter(
    make: Make, patient: Callable[[Engine], None]
) -> None:
    engine = make(pool_size=1, max_waiting=1)
    use(engine)
    patient(engine)
    with ThreadPoolExecutor(2) as threads:
        held = engine.connect()
        first = in_line(engine, threads)

        second = threads.submit(engine.connect)

        first.result(LONG / 2).close()
        held.close()
        second.result(LONG / 2).close()


def test_who_waits_in_vain_is_told_and_leaves_the_line(make: Make) -> None:
    engine = make(pool_size=1, max_overflow=0, wait_timeout=0.01)
    with engine.connect():
        with pytest.raises(PoolTimeoutError, match=r"size 1 overflow 0 .* 0\.01 s"):
            engine.connect()
        assert pool(engine).waiting() == 0
    use(engine)


def test_too_many_waiters_are_refused_at_once(make: Make) -> None:
    engine = make(pool_size=1, max_overflow=0, max_waiting=1)
    with ThreadPoolExecutor(1) as threads:
        held = engine.connect()
        waiter = in_line(engine, threads)
        with pytest.raises(
            PoolTimeoutError,
            match="max_waiting=1 reached: 1 thread is already waiting for a connection",
        ):
            engine.connect()
        held.close()
        waiter.result(LONG).close()


def test_nobody_is_refused_who_need_not_wait(make: Make) -> None:
    engine = make(max_waiting=0)
    with engine.connect(), engine.connect(), engine.connect():
        pass
    use(engine)


def test_a_failed_connect_lets_the_next_waiter_try_at_once(make: Make) -> None:
    engine = make(pool_size=1, max_overflow=0)
    start = Barrier(6)

    def refuse(*_: Any) -> None:
        sleep(0.01)  # so that the others wait by then
        raise ConnectionError

    def attempt(_: int) -> str:
        start.wait()
        try:
            use(engine)
        except ConnectionError:
            return "failed"
        return "served"

    event.listen(engine, "do_connect", refuse)
    with ThreadPoolExecutor(6) as threads:
        outcomes = list(threads.map(attempt, range(6)))
    event.remove(engine, "do_connect", refuse)

    assert outcomes == ["failed"] * 6
    assert pool(engine).checkedout() == 0
    use(engine)


def dispose(engine: Engine) -> None:
    with engine.connect():
        engine.dispose()


@pytest.mark.parametrize("ending", [use, invalidate, detach, fail, forget, dispose])
def test_a_place_comes_back_however_a_checkout_ends(
    make: Make, ending: Callable[[Engine], None]
) -> None:
    engine = make(wait_timeout=0.01)
    for _ in range(7):  # more often than there are places
        ending(engine)

    assert pool(engine).checkedout() == 0
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(engine.connect())
        with pytest.raises(PoolTimeoutError):
            engine.connect()


class Planned(Exception):
    """What a listener raises on purpose."""


def test_no_place_is_lost_however_checkouts_end_in_many_threads(make: Make) -> None:
    engine, mood = make(pool_size=3, max_overflow=2), local()
    plans = ["do_connect", "connect", "checkout", "reset"]
    endings = (use, use, invalidate, detach, fail, forget, dispose)
    ways = [*((plan, use) for plan in plans), *((None, ending) for ending in endings)]
    for name in plans:

        def fail_if_planned(*_: Any, name: str = name) -> None:
            if getattr(mood, "plan", None) == name:
                mood.plan = None
                raise Planned

        event.listen(engine, name, fail_if_planned)

    def work(seed: int) -> None:
        chance = Random(seed)
        for _ in range(20):
            mood.plan, ending = chance.choice(ways)
            with suppress(Planned):
                ending(engine)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))

    gc.collect()
    assert (pool(engine).waiting(), pool(engine).checkedout()) == (0, 0)
    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(engine.connect())


def test_a_pool_that_was_replaced_closes_what_comes_back_to_it(engine: Engine) -> None:
    closed: list[Any] = []
    event.listen(engine, "close", lambda connection, _: closed.append(connection))
    with engine.connect():
        engine.dispose()
        assert closed == []
    assert len(closed) == 1


def test_a_pool_in_place_of_another_tells_the_same_observer(engine: Engine) -> None:
    told: list[FairQueuePool] = []

    class Told(Observer):
        def checked_out(self, pool: Any, waited: float) -> None:
            told.append(pool)

    pool(engine).observers.append(Told())
    before = pool(engine)

    engine.dispose()
    use(engine)

    assert told == [pool(engine)] != [before]


@pytest.mark.parametrize("jitter", [0, 0.1])
def test_a_connection_past_its_time_is_replaced(make: Make, jitter: float) -> None:
    engine = make(jitter=jitter)
    pool(engine).recycle = LONG
    found = opened(engine)
    for _ in range(2):
        use(engine)
    assert len(found) == 1
    pool(engine).dispose()
    pool(engine).recycle = 0.02
    use(engine)
    sleep(0.03)
    use(engine)

    # without jitter recycling is QueuePool's own, in whole seconds of the wall clock
    assert len(found) == (3 if jitter else 2)


def test_a_clock_set_back_after_a_death_replaces_connections_once(make: Make) -> None:
    engine = make()
    found = opened(engine)
    use(engine)
    pool(engine)._invalidate_time = time() + 3600  # a death, seen before the clock was set back
    for _ in range(5):
        use(engine)

    assert len(found) == 2


@on("sqlite")
def test_lifetimes_are_spread_by_the_jitter(make: Make) -> None:
    engine = make(pool_size=30, pool_recycle=1000, jitter=0.1)
    with ExitStack() as stack:
        for _ in range(30):
            stack.enter_context(engine.connect())
    times = pool(engine)._entries.values()
    left = sorted((each.expires or 0) - each.idle_since for each in times)

    assert 890 < left[0] < left[-1] <= 1000
    assert left[-1] - left[0] > 30


@pytest.fixture
def pinged(monkeypatch: pytest.MonkeyPatch) -> Callable[[Engine], list[Any]]:
    """Return a list that every connection is added to that is pinged."""

    def note(engine: Engine) -> list[Any]:
        found: list[Any] = []
        ping = engine.dialect.do_ping

        def noting(connection: Any) -> bool:
            found.append(connection)
            return ping(connection)

        monkeypatch.setattr(engine.dialect, "do_ping", noting)
        return found

    return note


def test_a_busy_connection_is_not_pinged_and_one_idle_for_long_is(
    make: Make, pinged: Callable[[Engine], list[Any]]
) -> None:
    engine = make(ping_after=LONG)
    found = pinged(engine)
    for _ in range(3):
        use(engine)
    assert found == []

    pool(engine).ping_after = 0
    use(engine)
    assert len(found) == 1


@pytest.mark.parametrize("ping_after", [0, None])
@on("postgresql", "mariadb")
def test_a_connection_whose_server_left_is_replaced_unseen(
    make: Make,
    database: Database,
    pinged: Callable[[Engine], list[Any]],
    ping_after: float | None,
) -> None:
    """Its socket says so, without a round trip."""
    engine = make(ping_after=ping_after)
    found, asked = opened(engine), pinged(engine)
    use(engine)
    database.server.kill_backends(database.name)
    wait_until(lambda: is_dead(found[0]), LONG, 0.005)

    use(engine)

    assert (len(found), asked) == (2, [])


@on("postgresql")
def test_a_connection_with_a_notification_is_pinged_and_kept(
    make: Make, database: Database, pinged: Callable[[Engine], list[Any]]
) -> None:
    engine = make(ping_after=None)
    found, asked = opened(engine), pinged(engine)
    with engine.connect() as connection:
        connection.execute(text("LISTEN news"))
        connection.commit()
    database.rows("NOTIFY news")
    wait_until(lambda: ask_socket(found[0]) is Socket.READABLE, LONG, 0.005)

    use(engine)

    assert (len(found), len(asked)) == (1, 1)
    use(engine)
    assert (len(found), len(asked)) == (1, 1)


@on("mariadb")
def test_a_connection_with_an_answer_that_nobody_read_is_replaced(make: Make) -> None:
    engine = make(ping_after=None, pool_reset_on_return=None)
    found = opened(engine)
    raw = engine.raw_connection()
    driver: Any = raw.driver_connection
    driver._execute_command(COM_QUERY, "SELECT 7")
    wait_until(lambda: ask_socket(driver) is Socket.READABLE, LONG, 0.005)
    raw.close()

    use(engine)

    assert len(found) == 2


def test_what_is_older_than_one_that_died_is_replaced_without_a_ping(
    make: Make, pinged: Callable[[Engine], list[Any]]
) -> None:
    """A frozen server would hold up each ping for as long as its timeout."""
    engine = make(ping_after=0)
    found = pinged(engine)
    with engine.connect() as first, engine.connect():
        pool(engine)._invalidate(first.connection)  # as SQLAlchemy does after an error
    use(engine)
    use(engine)
    assert found == []
    use(engine)
    assert len(found) == 1


def test_use_lifo_hands_out_what_came_back_last(make: Make) -> None:
    engine = make(pool_use_lifo=True)
    found = opened(engine)
    with engine.connect(), engine.connect():
        pass
    for _ in range(5):
        use(engine)
    with engine.connect() as connection:
        last = connection.connection.dbapi_connection
    with engine.connect() as connection:
        assert connection.connection.dbapi_connection is last
    assert len(found) == 2


class Interruption(BaseException):
    """Such as KeyboardInterrupt, or what a server raises in a worker that takes too long."""


@pytest.mark.parametrize("patience", [0, LONG])
def test_an_interrupted_wait_leaves_the_line(
    make: Make, monkeypatch: pytest.MonkeyPatch, patience: float
) -> None:
    engine = make(pool_size=1, max_overflow=0)
    monkeypatch.setattr(queue_pool, "PATIENCE", patience)
    pool(engine)._connect_time = patience
    use(engine)
    pool(engine)._connect_time = patience

    def interrupt(*_: Any) -> None:
        raise Interruption

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with engine.connect():
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(Interruption):
                engine.connect()
            assert pool(engine).waiting() == 0
    finally:
        signal.signal(signal.SIGALRM, before)
    use(engine)
    assert pool(engine).checkedout() == 0


def test_an_interrupted_connect_gives_its_place_back(make: Make) -> None:
    engine = make(pool_size=1, max_overflow=0)

    def interrupt(*_: Any) -> None:
        raise Interruption

    event.listen(engine, "do_connect", interrupt)
    for _ in range(3):
        with pytest.raises(Interruption):
            engine.connect()
    event.remove(engine, "do_connect", interrupt)

    use(engine)


def test_the_numbers_are_those_of_queuepool(make: Make) -> None:
    with pytest.raises(ArgumentError, match="max_overflow -7"):
        make(max_overflow=-7)
    engine = make()
    assert pool(engine).status() == (
        "Pool size: 2  Connections in pool: 0 Current Overflow: -2 Current Checked out"
        " connections: 0"
    )
