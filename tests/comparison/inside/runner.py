"""One side on one database: its applications, and what comes of each view there."""

from __future__ import annotations

import faulthandler
import gc
import json
import logging
import time
from typing import Any

import sides
from databases import database
from flask import Flask, Response, jsonify, request
from flask.testing import FlaskClient
from kit import CONTEXT, ERRORS, METHODS, VIEWS, Deliberate, Side, View, attempt, rows, word
from sqlalchemy import exc, text
from sqlalchemy.engine import make_url
from werkzeug.exceptions import InternalServerError

# a view that hangs ends the run, with its stack
VIEW_LIMIT = 120
HANDLED: dict[str, type[Exception]] = {
    name: getattr(exc, name)
    for name in (
        "OperationalError", "ProgrammingError", "DBAPIError", "SQLAlchemyError", "IntegrityError"
    )
} | {"Exception": Exception, "500": InternalServerError, "Deliberate": Deliberate}  # fmt: skip


class Runner:
    """One side on one database, with an application for each kind of error handler."""

    def __init__(self, name: str, url: str, other: str, level: str | None) -> None:
        self.name, self.level = name, level
        self.urls = make_url(url), make_url(other)
        self.database, self.other = map(database, self.urls)
        db, models = sides.extension()
        family = {"mysql": "mariadb"}.get(self.urls[0].get_backend_name())
        self.side = Side(
            family or self.urls[0].get_backend_name(),
            db,
            models,
            self.database.outside,
            str(self.urls[0].database),
        )
        self.raised: list[str] = []
        self.apps: dict[str, Flask] = {}
        self.clean: dict[str, Any] = {}

    def app(self, handles: str = "") -> Flask:
        """Give the application with this error handler, built when it is first asked for."""
        if handles not in self.apps:
            app = sides.application(self.name, self.side.db, *self.urls, self.level)
            self._furnish(app)
            if handles:
                app.register_error_handler(HANDLED[handles], _handle)
            self.apps[handles] = app
            gc.collect()
            gc.freeze()
            self.clean[handles] = self._pooled(app)[0]
        return self.apps[handles]

    def _furnish(self, app: Flask) -> None:
        """Add the views, their hooks, a command for each and the probe."""
        logging.getLogger(app.name).disabled = True
        app.add_url_rule("/_pooled", "_pooled", self._pooled_states)
        app.add_url_rule(
            "/view/<path:name>", "view", self._serve, methods=METHODS,
            provide_automatic_options=False,
        )  # fmt: skip
        app.before_request(lambda: self._hook("before"))
        app.after_request(lambda response: self._hook("after", response) or response)
        app.teardown_request(lambda error: self._hook("teardown", error))
        app.teardown_appcontext(lambda error: self._hook("appcontext", error))

    def _hook(self, kind: str, *arguments: Any) -> Any:
        name = (request.view_args or {}).get("name") if request else None
        hooks = VIEWS[name].hooks if name else {}
        return hooks[kind](self.side, *arguments) if kind in hooks else None

    def _serve(self, name: str) -> Any:
        value = self._call(VIEWS[name])
        if isinstance(value, Response | tuple):
            return value
        return Response(json.dumps(value, default=str), mimetype="application/json")

    def _call(self, one: View) -> Any:
        try:
            return one.function(self.side)
        except Exception as error:
            self.raised.append(word(error))
            raise

    def _pooled_states(self) -> Response:
        """Tell, of every idle connection, what its next borrower gets with it."""
        engine = self.side.engine
        idle = [engine.connect() for _ in range(min(max(engine.pool.checkedin(), 1), sides.SIZE))]
        states = [attempt(lambda c=one: rows(c.execute(text(self.database.state)))) for one in idle]
        for one in idle:
            one.close()
        own = attempt(lambda: rows(self.side.session.execute(text(self.database.state))))
        return jsonify([*states, own])

    def _pooled(self, app: Flask) -> list[Any]:
        try:
            answer = app.test_client().get("/_pooled")
        except ERRORS as error:
            return [word(error)]
        return answer.json if answer.status_code == 200 else [answer.status]

    def run(self, one: View, way: str) -> dict[str, Any]:
        """Run a view once and tell all that came of it; leave nothing behind."""
        app = self.app(one.handles)
        faulthandler.dump_traceback_later(VIEW_LIMIT, exit=True)
        self.raised.clear()
        answers = self._in_context(app, one) if way == CONTEXT else self._asked(app, one, way)
        left = self._left(app, one)
        if left:
            # what is only forgotten goes back to the pool with the garbage
            gc.collect()
            left = self._left(app, one)
        if left:
            self._dispose()
        answers = json.loads(json.dumps(answers).replace(self.side.mark, "$MARK"))
        found = {"answers": answers, "raised": list(self.raised), "left": left}
        found["rows"] = self.database.contents()
        if one.name.startswith("binds/"):
            found["other"] = self.other.contents()
            self.other.reset()
        if left or found["rows"] != self.database.first:
            self._reset()
            found["rows"] = {
                name: value
                for name, value in found["rows"].items()
                if value != self.database.first.get(name)
            }
        else:
            found["rows"] = {}
        faulthandler.cancel_dump_traceback_later()
        return found

    def _asked(self, app: Flask, one: View, way: str) -> list[Any]:
        client = app.test_client()
        return [_answer(client, f"/view/{one.name}", way) for _ in range(one.times)]

    def _in_context(self, app: Flask, one: View) -> list[Any]:
        try:
            with app.app_context():
                return [json.dumps(self._call(one), default=str)]
        except Exception as error:  # noqa: BLE001 - the answer of a view that failed
            return [word(error)]

    def _left(self, app: Flask, one: View) -> list[Any]:
        """Tell what the view left to others: open transactions, locks, settings, connections."""
        found = [self.database.left_open()]
        with app.app_context():
            found.append(self.side.engine.pool.checkedout())
        found += [_changed(state, self.clean[one.handles]) for state in self._pooled(app)]
        unique = {json.dumps(one, default=str) for one in found if one not in (None, 0)}
        return sorted(unique)

    def _reset(self) -> None:
        """Bring the tables back, as soon as whoever ended holds none of them, or without them."""
        for number in range(50):
            told = attempt(self.database.reset)
            if not isinstance(told, str):
                return
            if number == 10:
                self._dispose()
            time.sleep(0.02)
        raise RuntimeError(told)

    def _dispose(self) -> None:
        for app in self.apps.values():
            with app.app_context():
                for engine in self.side.db.engines.values():
                    engine.dispose()
        self.database.disconnect_others()


def _changed(state: Any, clean: Any) -> Any:
    """Give what differs from a new connection's state, by its place."""
    if not isinstance(state, list) or not isinstance(clean, list):
        return None if state == clean else state
    pairs = zip(state[0], clean[0], strict=True)
    return {place: now for place, (now, then) in enumerate(pairs) if now != then} or None


def _answer(client: FlaskClient, path: str, way: str) -> list[Any]:
    """Read an answer to its end; those of errors have each application's own shape."""
    try:
        with client.open(path, method=way) as answer:
            body = answer.get_data(as_text=True)
            ours = "<title>" in body or "problem" in answer.content_type or not body
            if answer.status_code >= 500 or (answer.status_code >= 400 and ours):
                return [answer.status_code, "a page of errors"]
            return [answer.status_code, answer.content_type, body]
    except Exception as error:  # noqa: BLE001 - it came out of the application's end
        return ["escaped", word(error)]


def _handle(error: Exception) -> tuple[str, int]:
    original = getattr(error, "original_exception", None) or error
    return f"handled {type(error).__name__}: {word(original)}", 418
