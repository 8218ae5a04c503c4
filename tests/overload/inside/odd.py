"""An application that does to sockets and processes what applications sometimes do."""

from __future__ import annotations

import os
import socket
import time
from threading import Timer

from flask import request
from views import app

socket.setdefaulttimeout(60)
__all__ = ["app"]
LARGE = b"x" * 8_000_000


@app.get("/large")
def large() -> bytes:
    """Send more than buffers hold, after a moment."""
    time.sleep(0.3)
    return LARGE


@app.get("/child")
def child() -> str:
    """Leave a process behind that has this request's connection too."""
    if os.fork() == 0:
        time.sleep(20)
        os._exit(0)
    return "parent"


@app.get("/lost")
def lost() -> str:
    """Fork, and forget that the child comes here too."""
    if os.fork() == 0:
        Timer(5, os._exit, (0,)).start()
        raise RuntimeError("the child")
    time.sleep(0.5)  # the child is first
    return "parent"


@app.get("/closes")
def closes() -> str:
    """Close the connection a moment after the answer."""
    Timer(0.2, request.environ["gunicorn.socket"].close).start()
    return "closed soon"
