"""A small application without a database, with views that take as long as they are asked to."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from flask import Flask, request
from flask_pool import queue

time.sleep(float(os.environ.get("STARTS_IN", "0")))
app = Flask(__name__)
if os.environ.get("MIDDLEWARE"):
    app.wsgi_app = queue.Middleware(app.wsgi_app)  # type: ignore[method-assign]


@app.get("/")
def index() -> str:
    """Take as long as asked, else 50 ms."""
    time.sleep(float(request.args.get("seconds", 0.05)))
    return "served"


@app.post("/")
def upload() -> str:
    """Read the body, then take as long as a GET."""
    return f"{len(request.get_data())} {index()}"


@app.get("/wait")
def wait() -> str:
    """Tell how long this request waited."""
    return str(request.environ.get(queue.WAITED))


@app.get("/stream")
def stream() -> Iterator[str]:
    """Send a line every tenth of a second, for two seconds."""
    for number in range(20):
        time.sleep(0.1)
        yield f"{number}\n"


@app.get("/healthz/live")
def live() -> str:
    """Touch nothing."""
    return "live"


@app.get("/rule")
def rule() -> dict[str, float]:
    """Tell what the rule knows."""
    return {"mean": queue.RULE.mean, "refused": queue.RULE.refused}
