"""An application of somebody's own, with a pool."""

from __future__ import annotations

import gc
import os
from pathlib import Path

from flask import Flask
from flask_pool import Pool
from flask_pool.ops import shared
from flask_sqlalchemy import SQLAlchemy

app, db = Flask(__name__), SQLAlchemy()
app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{Path.cwd()}/app.db"
app.config["OPS_TOKEN"] = "a token of the tests, and long"
Pool(app, db)


@app.get("/healthz/live")
def live() -> str:
    """Touch nothing."""
    return "live"


@app.get("/frozen")
def frozen() -> dict[str, int]:
    """Tell which worker this is, how much is frozen, and how much is not."""
    return {"worker": os.getpid(), "frozen": gc.get_freeze_count(), "free": len(gc.get_objects())}


@app.get("/folder")
def folder() -> str:
    """Tell where metrics are shared."""
    return str(shared.folder())
