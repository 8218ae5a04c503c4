"""An application with a pool on SQLite, whose queue is to be seen."""

from __future__ import annotations

import time
from pathlib import Path

from flask import Flask
from flask_pool import Pool
from flask_sqlalchemy import SQLAlchemy

app = Flask(__name__)
app.config.update(
    SQLALCHEMY_DATABASE_URI=f"sqlite:///{Path.cwd()}/pooled.db",
    SERVER_TIMING=True,
    OPS_TOKEN="token",
)
db = SQLAlchemy()
Pool(app, db)


@app.get("/")
def index() -> str:
    """Ask the database, then take a fifth of a second."""
    db.session.execute(db.text("SELECT 1"))
    db.session.close()
    time.sleep(0.2)
    return "served"


@app.get("/healthz/live")
def live() -> str:
    """Touch nothing."""
    return "live"
