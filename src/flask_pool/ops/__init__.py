"""What operators use: metrics, the page of the pool, Server-Timing, and `flask pool ...`.

It listens to the pool through `Observer`; the pool knows nothing of it, and a service runs
without this folder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask


def init_app(app: Flask) -> None:
    """Watch the application's pools, and add its routes and commands for operators."""
    # here, as a server's master imports `shared` without Flask
    from ..queue_pool import FairQueuePool
    from . import commands, metrics, page, timing

    pools = app.extensions["flask_pool"]
    metrics.watch_requests(pools.observers)
    metrics.watch_queue()
    for name, engine in pools.engines.items():
        if isinstance(engine.pool, FairQueuePool):
            metrics.watch(engine.pool, name)
    timing.init_app(app, pools.engines.values())
    page.init_app(app)
    commands.init_app(app)


def missing(error: ModuleNotFoundError) -> str:
    """Say in a line what a page or command needs."""
    return f"{error.name} is not installed: pip install 'flask-pool[ops]'"
