"""`flask pool trace`: what a pool does for one request after another."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from time import sleep

import click
from flask import current_app
from flask.cli import with_appcontext
from sqlalchemy import create_engine
from sqlalchemy.engine import Connection, Engine

from .. import care, lifecycle
from ..metered import MeteredPool
from ..options import engine_options
from . import Command, report
from .recorder import Recorder, Row

COLUMNS = ("Step", "Action", "Pool state", "Result")
SOME = click.IntRange(1, 1000)
PATIENCE = 60.0  # seconds that a request waits for a connection

Asked = deque[Future[Connection]]


@click.command("trace", cls=Command)
@report.option("--pool-size", type=SOME, default=2, help="Connections of the pool.")
@report.option("--requests", type=SOME, default=3, help="Requests that ask for one.")
@report.option("--concurrent", is_flag=True, help="All requests arrive before one is served.")
@report.format_option("table", "json", "markdown")
@with_appcontext
def command(pool_size: int, requests: int, concurrent: bool, form: str) -> None:
    """Show, step by step, what a pool does for requests.

    A new pool is opened on this service's database and warmed up, each request runs SELECT 1,
    and the pool is closed. State is connections in use / available, read off the pool.

    Example: flask pool trace --pool-size 1 --concurrent
    """
    rows = run(pool_size, requests, concurrent)
    cells = [(row.step, row.action, row.state, row.result) for row in rows]
    if form == "json":
        report.dump([asdict(row) for row in rows])
    elif form == "markdown":
        report.markdown(COLUMNS, cells)
    else:
        report.show(COLUMNS, cells)


def run(size: int, requests: int, concurrent: bool = False) -> list[Row]:
    """Serve requests from a new pool of this size, and return each step."""
    engine = new_engine(size)
    try:
        recorder = Recorder(engine, PATIENCE)
        recorder.start(size)
        (at_once if concurrent else one_after_another)(recorder, requests)
        recorder.stop()
    finally:
        engine.dispose()
    return recorder.rows


def one_after_another(recorder: Recorder, requests: int) -> None:
    """Serve each request before the next one arrives."""
    for number in range(1, requests + 1):
        recorder.arrive(number)
        with recorder.engine.connect() as connection:
            recorder.serve(connection)


def at_once(recorder: Recorder, requests: int) -> None:
    """Let all requests arrive before the first one is served."""
    having: Asked = deque()
    waiting: Asked = deque()
    with ThreadPoolExecutor(requests) as threads, let_go(recorder, having, requests):
        for number in range(1, requests + 1):
            recorder.arrive(number)
            asked = threads.submit(recorder.engine.connect)
            while not asked.done() and recorder.gate.waiting == len(waiting):
                sleep(0.001)
            if asked.done():
                having.append(asked)
            else:
                recorder.wait(number)
                waiting.append(asked)
        while having:
            with having.popleft().result() as connection:
                recorder.serve(connection)
            if waiting:
                recorder.gate.noted.release()
                having.append(waiting.popleft())
                having[-1].exception()  # returns once it has its connection


@contextmanager
def let_go(recorder: Recorder, having: Asked, requests: int) -> Iterator[None]:
    """When something fails give back what is taken, so that no thread waits for it."""
    try:
        yield
    except BaseException:
        recorder.gate.noted.release(requests)
        for asked in having:
            if not asked.exception():
                asked.result().close()
        raise


def new_engine(size: int) -> Engine:
    """Return an engine like the service's own, with a pool of this size and no overflow."""
    own: Engine = current_app.extensions["pool"].engines["default"]
    options = engine_options(own.url, current_app.config) | {
        "poolclass": MeteredPool,
        "pool_size": size,
        "max_overflow": 0,
    }
    engine = create_engine(**options)
    care.watch(engine, "trace", current_app.config)
    lifecycle.watch(engine)
    return engine
