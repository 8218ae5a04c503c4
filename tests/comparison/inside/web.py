"""Views with Flask's hooks, sessions, methods and errors around them."""

from __future__ import annotations

from typing import Any

from common import names, put
from flask import (
    Response,
    abort,
    after_this_request,
    g,
    request,
    session,
)  # fmt: skip
from kit import METHODS, REQUESTS, Side, attempt, fail, view

WEB = {"ways": REQUESTS}


def load_user(side: Side) -> None:
    """Keep an object that the session loaded, as user loaders do."""
    g.user = side.session.get(side.Item, 1)


def note_and_commit(side: Side, response: Response) -> Response:
    """Write after the view, and commit."""
    put(side, "noted")
    side.session.commit()
    return response


@view(**WEB, hooks={"before": load_user})
def user_loader(side: Side) -> Any:
    """Read what the loader loaded, and what hangs on it."""
    return [g.user.name, [child.name for child in g.user.children], names(side)]


@view(**WEB, hooks={"before": load_user})
def user_loader_then_write(side: Side) -> Any:
    """Change what the loader loaded, and commit."""
    g.user.value += 1
    side.session.commit()
    return g.user.value


@view(**WEB, hooks={"before": load_user})
def user_loader_then_fail(side: Side) -> None:
    """Change what the loader loaded, flush, and fail."""
    g.user.value += 1
    side.session.flush()
    fail()


@view(**WEB, hooks={"before": lambda side: put(side, "by the hook")})
def before_writes(side: Side) -> Any:
    """See what a hook wrote, and let it go."""
    return names(side)


@view(**WEB, hooks={"after": note_and_commit})
def after_writes(side: Side) -> Any:
    """Write without a commit; the hook commits."""
    put(side, "in the view")
    return names(side)


@view(**WEB, hooks={"after": note_and_commit})
def after_an_error(side: Side) -> None:
    """Fail after a write; the hook runs for the error's answer too."""
    put(side, "in the view")
    fail()


@view(**WEB, hooks={"teardown": lambda side, _error: note_and_commit(side, Response())})
def teardown_writes(side: Side) -> Any:
    """Read; teardown writes."""
    return names(side)


@view(**WEB, hooks={"appcontext": lambda side, _error: attempt(names, side)})
def teardown_reads(side: Side) -> Any:
    """Write; the end of the context reads."""
    put(side, "lost")
    return names(side)


@view(**WEB, hooks={"teardown": lambda side, error: error and note_and_commit(side, Response())})
def teardown_after_an_error(side: Side) -> None:
    """Fail, and have teardown write because of it."""
    names(side)
    fail()


@view(**WEB, times=3)
def session_counter(side: Side) -> Any:
    """Count in the client's session, with a read."""
    session["count"] = session.get("count", 0) + 1
    return [session["count"], len(names(side))]


@view(**WEB, times=2)
def after_this(side: Side) -> Any:
    """Set a cookie and write in after_this_request."""

    @after_this_request
    def also(response: Response) -> Response:
        response.set_cookie("seen", str(len(names(side))))
        put(side, "lost")
        return response

    return [request.cookies.get("seen"), names(side)]


@view(ways=METHODS)
def every_method(side: Side) -> Any:
    """Write, commit and read, whatever the method."""
    put(side, request.method)
    side.session.commit()
    return names(side)


@view(ways=METHODS)
def every_method_forgets(side: Side) -> Any:
    """Read, write and forget, whatever the method."""
    names(side)
    put(side, "lost")
    return names(side)


@view(ways=METHODS)
def every_method_fails(side: Side) -> None:
    """Write through a raw cursor and fail, whatever the method."""
    cursor = side.session.connection().connection.cursor()
    cursor.execute("INSERT INTO item (id, name) VALUES (3, 'lost')")
    fail()


@view(**WEB)
def aborts(side: Side) -> None:
    """Write and abort."""
    put(side, "lost")
    abort(418)


@view(**WEB)
def commits_then_aborts(side: Side) -> None:
    """Commit and abort."""
    put(side, "kept")
    side.session.commit()
    abort(404)
