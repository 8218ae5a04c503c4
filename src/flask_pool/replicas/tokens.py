"""Tokens: what clients wrote and saw, signed, as a header or as cookies."""

from __future__ import annotations

from time import time
from typing import NamedTuple

from flask import Response, current_app, request
from itsdangerous import BadData, URLSafeTimedSerializer

COOKIE, SEEN_COOKIE, HEADER = "read_after", "read_after_seen", "Read-After"
VALID = 30  # seconds: a log's positions mean nothing after a fail-over, so they must not last
RENEWED = 10  # seconds after which a client is told again what has not changed


class Token(NamedTuple):
    """What a client wrote and saw: positions, "" for none, and what it read from."""

    written: str = ""
    written_at: int = 0  # seconds since 1970
    seen: str = ""
    source: str = ""  # a replica, which is at least where it was then


def told() -> tuple[Token, float]:
    """Return what this client wrote and saw, if still valid, and when it was told that."""
    header = request.headers.get(HEADER)
    if header:
        return _read(header)
    wrote, _ = _read(request.cookies.get(COOKIE))
    saw, at = _read(request.cookies.get(SEEN_COOKIE))
    if wrote.written_at >= saw.written_at:
        saw = saw._replace(written=wrote.written, written_at=wrote.written_at)
    return saw, at


def tell(response: Response, token: Token, *, wrote: bool) -> None:
    """Have the client bring this back."""
    signed = str(_serializer().dumps(token))
    response.headers[HEADER] = signed
    response.set_cookie(
        # a read that began before a write must not take its cookie's place
        COOKIE if wrote else SEEN_COOKIE,
        signed,
        max_age=VALID,
        path=current_app.session_interface.get_cookie_path(current_app),
        secure=request.is_secure,
        httponly=True,
        samesite="Lax",
    )


def _serializer() -> URLSafeTimedSerializer:
    keys = [*(current_app.config.get("SECRET_KEY_FALLBACKS") or ()), current_app.secret_key]
    return URLSafeTimedSerializer(keys, salt=COOKIE)


def _read(signed: str | None) -> tuple[Token, float]:
    if not signed:
        return Token(), 0.0
    try:
        found, at = _serializer().loads(signed, return_timestamp=True)
        token = Token(*found)
    except (BadData, TypeError):
        return Token(), 0.0
    now = time()  # another machine's clock may be ahead
    if abs(now - at.timestamp()) > VALID:
        return Token(), 0.0
    if token.written and now - token.written_at > VALID:
        token = token._replace(written="", written_at=0)
    return token, at.timestamp()
