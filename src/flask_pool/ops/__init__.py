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
    from ..queue_pool import FairQueuePool  # noqa: PLC0415
    from . import commands, metrics, page, timing  # noqa: PLC0415

    pools = app.extensions["pool"]
    metrics.watch_requests(pools.observers)
    for name, engine in pools.engines.items():
        if isinstance(engine.pool, FairQueuePool):
            metrics.watch(engine.pool, name)
    timing.init_app(app, pools.engines.values())
    if page.bp.name not in app.blueprints:  # an application may get its engines anew
        app.register_blueprint(page.bp)
    commands.init_app(app)
