"""Processes that are forked: nothing that a child does reaches its parent's connections."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import socket
from collections.abc import Callable
from time import monotonic, sleep
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select, text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError

from .conftest import Database, Item, db, engine_of, names, on, stored

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # Python's, of forks beside threads
]

SECONDS = 30  # a child that hangs is ended
# A fork in C leaves Python's own lock as it was: where another thread has just asked for it, the
# child waits in CPython for a thread that it does not have, whatever it was to do
TRIES = {"fork_in_python": 1, "fork_in_c": 3}


def fork_in_python() -> int:
    return os.fork()


def fork_in_c() -> int:
    """Fork as uWSGI and mod_wsgi do: Python's hooks do not run."""
    return int(ctypes.PyDLL(None).fork())  # PyDLL holds Python's lock meanwhile


def in_child(work: Callable[[], object], fork: Callable[[], int] = fork_in_python) -> int:
    """Run something in a child; give 0, or 1 for a database error, or 2 for another."""
    for _ in range(TRIES[fork.__name__]):
        code = _run(work, fork)
        if code != -signal.SIGKILL:
            break
    return code


def _run(work: Callable[[], object], fork: Callable[[], int]) -> int:
    child = fork()
    if child == 0:
        code = 2
        try:
            work()
            code = 0
        except DBAPIError:
            code = 1
        finally:
            os._exit(code)
    until = monotonic() + SECONDS
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if monotonic() > until:
            os.kill(child, signal.SIGKILL)
            ended = os.waitpid(child, 0)
            break
        sleep(0.005)
    return os.waitstatus_to_exitcode(ended[1])


@pytest.mark.parametrize(
    ("work", "fails"),
    [
        (lambda: db.session.remove(), False),
        (lambda: db.session.rollback(), False),
        (lambda: db.engine.dispose(), False),
        (lambda: db.session.commit(), True),
        (lambda: db.session.execute(text("DELETE FROM pool_items")), True),
    ],
    ids=["remove", "rollback", "dispose", "commit", "execute"],
)
@on("postgresql", "mariadb")
def test_a_child_never_touches_its_parents_transaction(
    app: Flask, work: Callable[[], object], fails: bool
) -> None:
    with app.app_context():
        db.session.add(Item(name="parent's"))
        db.session.flush()
        assert bool(in_child(work)) is fails
        db.session.commit()
        assert names() == ["parent's"]
        db.session.remove()


@pytest.mark.parametrize("fork", [fork_in_python, fork_in_c])
def test_a_child_works_with_connections_of_its_own(
    app: Flask, engine: Engine, fork: Callable[[], int]
) -> None:
    with app.app_context():
        names()  # one is idle
        db.session.remove()

    def work() -> None:
        with app.app_context():
            db.session.add(Item(name="child's"))
            db.session.commit()

    with engine.connect() as held:
        assert in_child(work, fork) == 0
        assert held.scalars(select(Item.name)).all() == ["child's"]
    assert stored(app) == ["child's"]


@on("postgresql", "mariadb")
@pytest.mark.parametrize("fork", [fork_in_python, fork_in_c])
def test_a_childs_connections_are_others(
    app: Flask, database: Database, fork: Callable[[], int]
) -> None:
    """Every child of several, and none is the parent's."""
    who = {"postgresql": "SELECT pg_backend_pid()", "mariadb": "SELECT connection_id()"}
    question = text(who[database.kind])
    with app.app_context():
        own = db.session.scalar(question)
        db.session.remove()
    ends = [socket.socketpair() for _ in range(3)]
    for ours, theirs in ends:

        def work(theirs: socket.socket = theirs) -> None:
            with app.app_context():
                theirs.sendall(str(db.session.scalar(question)).encode())

        assert in_child(work, fork) == 0
        theirs.close()
        with ours:
            assert int(ours.recv(100)) != own
    with app.app_context():
        assert db.session.scalar(question) == own
        db.session.remove()


@pytest.mark.parametrize("fork", [fork_in_python, fork_in_c])
def test_the_numbers_begin_anew_in_a_child(
    app: Flask, engine: Any, fork: Callable[[], int]
) -> None:
    with engine.connect():
        pass
    held = engine.connect()

    def work() -> None:
        taken = [engine.connect() for _ in range(3)]  # as many as there are places
        assert engine.pool.checkedout() == 3
        for each in taken:
            each.close()
        engine.dispose()

    assert in_child(work, fork) == 0
    assert held.scalar(text("SELECT 1")) == 1
    held.close()
    assert engine.pool.checkedin() == 1


@on("postgresql", "mariadb")
def test_a_child_that_ends_says_no_goodbye_for_its_parent(app: Flask, engine: Any) -> None:
    """The interpreter's end closes what is left, in the child too."""
    with app.app_context():
        names()
        db.session.remove()
    process = multiprocessing.get_context("fork").Process(target=names_in, args=(app,))
    process.start()
    process.join(SECONDS)

    assert process.exitcode == 0
    for entry in engine.pool._entries:
        connection: Any = entry.dbapi_connection
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        connection.rollback()


def names_in(app: Flask) -> None:
    with app.app_context():
        names()


@on("postgresql")
@pytest.mark.parametrize("fork", [fork_in_python, fork_in_c])
def test_a_child_watches_its_connections_too(
    make_app: Callable[..., Flask], tables: None, fork: Callable[[], int]
) -> None:
    """CPython 3.11 ends by a signal if it looks at its parent's threads after a fork in C."""
    app = make_app(SQLALCHEMY_STATEMENT_TIMEOUT=30, POOL_HELD_WARNING=0.1)
    with app.app_context():
        names()
        db.session.remove()
    ours, theirs = socket.socketpair()

    def work() -> None:
        class Told:
            def __getattr__(self, name: str) -> Callable[..., None]:
                return lambda *_: theirs.sendall(f"{name} ".encode())

        engine_of(app).pool.observers.append(Told())
        with app.app_context():
            db.session.execute(text("SELECT pg_sleep(1.5)"))

    assert in_child(work, fork) == 0
    theirs.close()
    with ours:
        assert b"held" in ours.recv(1000)
