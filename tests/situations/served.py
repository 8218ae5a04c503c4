"""An application for a server whose master asks the database before it forks."""

from __future__ import annotations

import os

from sqlalchemy import text

from situations.applications import Application

made = Application(os.environ["SITUATIONS_SIDE"], os.environ["SITUATIONS_URL"])
app = made.flask


@app.get("/echo/<int:number>")
def echo(number: int) -> str:
    """Have the database say a number."""
    found: int = made.session.scalar(text("SELECT :number + 0"), {"number": number})
    return str(int(found))


with app.app_context():
    made.session.scalar(text("SELECT 1"))
