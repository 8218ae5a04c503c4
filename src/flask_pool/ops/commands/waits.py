"""Whether the server that this folder configures measures and bounds the wait of requests."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .findings import INFO, WARNING, Finding

OURS = ("flask_pool.gunicorn.Worker", "flask_pool.worker.Worker")
NAME = "queue"
ADVICE = "worker_class = 'flask_pool.gunicorn.Worker' in gunicorn.conf.py"


def findings(settings: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what keeps waits from being known, or requests from being refused in time."""
    if not settings["POOL_QUEUE_TARGET"]:
        message = "POOL_QUEUE_TARGET is 0: under overload every request waits, and none is refused"
        yield Finding(INFO, NAME, message, "leave it at its default")
        return
    try:
        from ...worker import lacking
    except ImportError:
        message = "gunicorn is not there: waits are known as far as the server shows its socket"
        yield Finding(INFO, NAME, message, "pip install 'flask-pool[gunicorn]'")
        return
    if lacking():
        message = f"each worker has a queue of its own: this machine lacks {', '.join(lacking())}"
        yield Finding(WARNING, NAME, message, "run gunicorn 23.0 to 27.0, on Linux")
    if sys.platform != "linux":
        message = "only Linux tells how long a request has waited on its socket"
        yield Finding(WARNING, NAME, message, "let a proxy set X-Request-Start")
    if Path("gunicorn.conf.py").is_file():
        yield from _configured()


def _configured() -> Iterator[Finding]:
    done = subprocess.run(
        [sys.executable, "-m", "gunicorn", "--print-config", "none:none"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = dict(re.findall(r"^(worker_class|bind)\s+= (.*)$", done.stdout, re.MULTILINE))
    if "worker_class" in found and not any(name in found["worker_class"] for name in OURS):
        message = f"gunicorn's worker is {found['worker_class']}: each worker has its own queue"
        yield Finding(WARNING, NAME, message, ADVICE)
    if "unix:" in found.get("bind", ""):
        message = "a unix socket does not tell how long a request has waited"
        advice = "listen on TCP, or let the proxy set X-Request-Start (and only the proxy)"
        yield Finding(WARNING, NAME, message, advice)
