"""The application that gets more than it can serve: its views wait for the database, or compute."""

from __future__ import annotations

import os
import time

from flask import Flask
from flask_pool import Pool
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import text

app, db = Flask(__name__), SQLAlchemy()
app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["SQLALCHEMY_DATABASE_URI"]
if os.environ["SIDE"] == "flask_pool":
    Pool(app, db)
else:
    db.init_app(app)


@app.get("/database")
def database() -> str:
    """Wait for the database, for as long as the table `pace` says."""
    db.session.execute(text("SELECT pg_sleep(seconds) FROM pace"))
    return "served"


@app.get("/python")
def python() -> str:
    """Compute, as a template of many rows does."""
    end = time.thread_time() + float(os.environ["COMPUTES"])
    while time.thread_time() < end:
        pass
    return "served"


@app.get("/healthz/live")
def live() -> str:
    """Touch nothing."""
    return "live"
