"""Views with contexts of their own: nested, in threads, in commands."""

from __future__ import annotations

import threading
from typing import Any

from common import PUT, names, put
from flask import copy_current_request_context, current_app, request
from kit import REQUESTS, Side, attempt, fail, view, word

WEB = {"ways": REQUESTS}


@view()
def nested_context(side: Side) -> Any:
    """Commit in an inner context, and roll back in the outer."""
    first = names(side)
    side.session.rollback()
    with current_app.app_context():
        put(side, "inner")
        side.session.commit()
    put(side, "outer")
    side.session.rollback()
    return [first, names(side)]


@view()
def nested_context_forgets(side: Side) -> Any:
    """Leave an inner context without a commit while the outer one reads."""
    outer = side.session.get(side.Item, 1)
    with current_app.app_context():
        inner = side.session.get(side.Item, 1)
        inside = len(names(side))
    return [outer is inner, outer.name, inside]


@view(**WEB)
def nested_request(side: Side) -> Any:
    """Ask the application itself, from inside a view."""
    names(side)
    side.session.rollback()
    path = "/view/web/every_method"
    answer = current_app.test_client().open(path, method=request.method)
    return [answer.status_code, names(side)]


@view()
def thread_with_a_context(side: Side) -> Any:
    """Write in a thread with a context of its own: committed, and not."""
    app = current_app._get_current_object()

    def work(commit: bool) -> None:
        with app.app_context():
            put(side, f"commit {commit}")
            if commit:
                side.session.commit()

    for commit in (True, False):
        thread = threading.Thread(target=work, args=(commit,))
        thread.start()
        thread.join(10)
    return names(side)


@view()
def thread_with_a_connection(side: Side) -> Any:
    """Give a connection to a thread, which commits."""
    connection = side.engine.connect()

    def work() -> None:
        with connection:
            connection.execute(PUT, {"id": 3, "name": "by a thread"})
            connection.commit()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    return names(side)


@view(**WEB)
def thread_with_the_request(side: Side) -> Any:
    """Copy the request's context into a thread, which forgets what it wrote."""
    told: list[Any] = []

    @copy_current_request_context
    def work() -> None:
        told.append([request.method, attempt(names, side)])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    return [told, names(side)]


@view()
def command(side: Side) -> Any:
    """Run a command that writes, commits, and fails."""
    app = current_app._get_current_object()

    def work() -> None:
        put(side, "kept")
        side.session.commit()
        put(side, "lost")
        fail()

    app.cli.command("compared")(work)
    result = app.test_cli_runner().invoke(args=["compared"])
    return [word(result.exception), result.output, names(side)]


@view(**WEB)
def forgotten_connection(side: Side) -> Any:
    """Take a connection, write, and lose it."""
    side.engine.connect().execute(PUT, {"id": 3, "name": "lost"})
    return "forgotten"
