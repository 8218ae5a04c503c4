"""What the server grants, asked now and then, off the path of any request."""

from __future__ import annotations

import contextlib
from threading import Thread
from time import monotonic
from typing import Any

from flask import current_app
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError

from .budget import Limits, budget, limits
from .metered import MeteredPool

PATIENCE = 0.5  # seconds that a page waits for the answer; the next one will have it
VALID = 60.0  # seconds


class Question(Thread):
    """One connection's look at the server's limits."""

    def __init__(self, engine: Engine, known: Limits | None) -> None:
        super().__init__(daemon=True)
        self.engine = engine
        self.limits = known
        self.asked = monotonic()

    def run(self) -> None:
        """Ask, or leave what was known as it is."""
        with contextlib.suppress(SQLAlchemyError), self.engine.connect() as connection:
            self.limits = limits(connection)


def granted(engine: Engine) -> dict[str, Any] | None:
    """Return this service's budget against the server's limit; None while that is unknown."""
    found = _ask(engine)
    if found is None:
        return None
    settings = current_app.config
    engines = current_app.extensions["pool"].engines.values()
    same = sum(_server(engine) == _server(other) for other in engines)
    plan = budget(settings, found, pools=same)
    return {
        "server": found.server,
        "workers": plan.workers,
        "threads": plan.threads,
        "needed": plan.needed,
        "limit": plan.limit,
        "fits": plan.fits,
        "text": str(plan),
    }


def _ask(engine: Engine) -> Limits | None:
    questions: dict[Engine, Question] = current_app.extensions.setdefault("pool_limits", {})
    last = questions.get(engine)
    if last is None or (not last.is_alive() and monotonic() - last.asked > VALID):
        if isinstance(engine.pool, MeteredPool) and engine.pool.gate.free == 0:
            return last.limits if last else None  # requests need the connections more
        last = questions[engine] = Question(engine, last.limits if last else None)
        last.start()
    last.join(PATIENCE)
    return last.limits


def _server(engine: Engine) -> tuple[str, str | None, int | None]:
    return engine.url.get_backend_name(), engine.url.host, engine.url.port
