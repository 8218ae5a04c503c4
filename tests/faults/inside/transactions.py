"""Views that read and write in every way, served like those of views.py."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from fault_service.db import db
from fault_service.models import User
from flask import Response, current_app, request, stream_with_context
from sqlalchemy import func, select, text


def fail() -> None:
    """Fail on purpose."""
    raise LookupError


def count() -> int:
    """Count the users, as this request's session sees them."""
    return db.session.scalar(select(func.count()).select_from(User)) or 0


def read_write_read() -> dict[str, Any]:
    """Read, write and read the own write, then commit."""
    before = count()
    user = User(name="written in a view")
    db.session.add(user)
    inside = count()
    db.session.commit()
    name = user.name  # expired by the commit: read again
    return {"before": before, "inside": inside, "name": name, "after": count()}


def roll_back() -> dict[str, Any]:
    """Undo a write and go on reading."""
    db.session.add(User(name="undone"))
    inside = count()
    db.session.rollback()
    return {"inside": inside, "after": count()}


def forget_to_commit() -> dict[str, Any]:
    """Write and return."""
    db.session.add(User(name="never committed"))
    return {"inside": count()}


def core_text() -> dict[str, Any]:
    """Write with plain SQL, undo it, write again and commit."""
    insert = text("INSERT INTO users (name) VALUES (:name)")
    db.session.execute(insert, {"name": "undone"})
    inside = count()
    db.session.rollback()
    undone = count()
    db.session.execute(insert, {"name": "kept"})
    db.session.commit()
    return {"inside": inside, "undone": undone, "after": count()}


def savepoint() -> dict[str, Any]:
    """Undo an inner write and keep the outer ones."""
    db.session.add(User(name="outer"))
    try:
        with db.session.begin_nested():
            db.session.add(User(name="inner"))
            db.session.flush()
            fail()
    except LookupError:
        inside = count()
    with db.session.begin_nested():
        db.session.add(User(name="second"))
    db.session.commit()
    return {"inside": inside, "after": count()}


def savepoint_first() -> dict[str, Any]:
    """Begin with a savepoint, before anything else was asked."""
    nested = db.session.begin_nested()
    db.session.add(User(name="inner"))
    db.session.flush()
    nested.rollback()
    db.session.add(User(name="outer"))
    db.session.commit()
    return {"after": count()}


def stream() -> Response:
    """Send the names while they are read; Flask ends the view's own session before that."""

    def names() -> Iterator[str]:
        query = select(User.name).order_by(User.id).execution_options(yield_per=10)
        for name in db.session.scalars(query):
            yield f"{name}\n"

    return Response(stream_with_context(names()), content_type="text/plain")


def lazy() -> dict[str, Any]:
    """Get one by its key, let it expire, and touch it."""
    user = db.session.get_one(User, int(request.args["id"]))
    db.session.expire(user)
    return {"name": user.name}


def nested_context() -> dict[str, Any]:
    """Commit in an inner application context, then undo what the outer one wrote."""
    db.session.add(User(name="outer"))
    db.session.flush()
    with current_app.app_context():
        db.session.add(User(name="inner"))
        db.session.commit()
    db.session.rollback()
    return {"after": count()}


def background() -> dict[str, Any]:
    """Write in a thread: once committed, once not."""
    app = current_app._get_current_object()

    def work(commit: bool) -> None:
        with app.app_context():
            db.session.add(User(name=f"commit: {commit}"))
            db.session.flush()
            if commit:
                db.session.commit()

    for commit in (True, False):
        thread = threading.Thread(target=work, args=(commit,))
        thread.start()
        thread.join()
    return {"after": count()}


def engine_directly() -> dict[str, Any]:
    """Use db.engine by hand: nothing is kept without a commit, and an error undoes all."""
    insert = User.__table__.insert()
    with db.engine.connect() as connection:
        connection.execute(insert, {"name": "not committed"})
    with suppress(LookupError), db.engine.begin() as connection:
        connection.execute(insert, {"name": "undone"})
        fail()
    with db.engine.begin() as connection:
        connection.execute(insert, {"name": "kept"})
    return {"after": count()}


def repeatable_read() -> dict[str, Any]:
    """Ask twice in one snapshot while somebody else writes, then once outside it."""
    with db.session.begin():
        db.session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        first = count()
        with db.engine.begin() as other:
            other.execute(User.__table__.insert(), {"name": "somebody else's"})
        second = count()
    return {"first": first, "second": second, "after": count()}


def lock() -> dict[str, Any]:
    """Hold a row's lock for a while."""
    with db.session.begin():
        db.session.scalars(select(User).with_for_update()).all()
        time.sleep(float(request.args["seconds"]))
    return {"after": count()}
