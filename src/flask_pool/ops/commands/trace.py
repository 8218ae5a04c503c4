"""`flask pool trace`: what a pool does for one request after another."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from time import sleep

import click
from flask import current_app
from flask.cli import with_appcontext
from sqlalchemy.engine import Connection

from . import output
from .steps import Recorder, Row, SteppedPool, name_of

COLUMNS = ("Step", "Action", "Pool state", "Result")
MOST = 1000
SOME = click.IntRange(1, MOST)
PATIENCE = 60.0  # seconds that a request waits for a connection


@click.command("trace")
@output.option("--pool-size", type=SOME, default=2, help="Connections of the pool.")
@output.option("--requests", type=SOME, default=3, help="Requests that ask for one.")
@output.option("--concurrent", is_flag=True, help="All requests arrive before one is served.")
@output.format_option("table", "json", "markdown")
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
        output.dump([asdict(row) for row in rows])
    elif form == "markdown":
        output.markdown(COLUMNS, cells)
    else:
        output.show(output.table(COLUMNS, cells))


def run(size: int, requests: int, concurrent: bool) -> list[Row]:
    """Serve requests from a new pool of this size, and return each step."""
    pool = {"pool_size": size, "max_overflow": 0, "wait_timeout": PATIENCE}
    engine = current_app.extensions["flask_pool"].another("default", SteppedPool, **pool)
    try:
        recorder = Recorder(engine)
        recorder.start(size)
        numbers = range(1, requests + 1)
        for together in [numbers] if concurrent else zip(numbers):
            serve(recorder, together)
        recorder.stop()
    finally:
        engine.dispose()
    return recorder.rows


def serve(recorder: Recorder, numbers: Iterable[int]) -> None:
    """Let these requests arrive, and then serve them, those that wait as soon as they can be."""
    having: deque[Future[Connection]] = deque()
    waiting: deque[Future[Connection]] = deque()
    with ThreadPoolExecutor(MOST) as threads:
        try:
            for number in numbers:
                name = name_of(number)
                recorder.note(f"{name} arrives", "Get connection from pool")
                asked = threads.submit(recorder.engine.connect)
                while not asked.done() and recorder.pool.waiting() == len(waiting):
                    sleep(0.001)
                if not asked.done():
                    result = f"{recorder.pool.waiting()} waiting"
                    recorder.note(f"{name} waits for a connection", result)
                (having if asked.done() else waiting).append(asked)
            while having:
                with having.popleft().result() as connection:
                    recorder.serve(connection)
                if waiting:
                    having.append(waiting.popleft())
                    having[-1].exception()  # returns once it has its connection
        finally:  # if something failed, so that no thread waits for what is taken
            recorder.pool.go_on()
            for asked in having:
                if not asked.exception():
                    asked.result().close()
