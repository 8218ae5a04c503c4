"""Replicas, as far as one server shows: settings, tokens, and that the primary does for all."""

from __future__ import annotations

import time
from typing import Any

import pytest
from flask import Flask, request
from itsdangerous import TimestampSigner, URLSafeTimedSerializer
from sqlalchemy import select, text

from flask_pool import Pool, settings
from flask_pool.replicas import Token, covers, parse, told

from .conftest import Item, Make, db

SECRET = "0123456789abcdef0123456789abcdef"


class Ahead(TimestampSigner):
    """Signs on a machine whose clock is ahead."""

    def get_timestamp(self) -> int:
        return super().get_timestamp() + 2


def sign(token: Token | tuple[Any, ...] | str, key: str = SECRET, salt: str = "read_after") -> str:
    """Sign what a client brings back."""
    return str(URLSafeTimedSerializer(key, salt=salt).dumps(token))


@pytest.mark.parametrize(
    ("older", "newer"),
    [("0/FFFFFFFF", "1/0"), ("0/3000060", "0/3000061"), ("0-1-9", "0-2-10"), ("", "0-1-1")],
)
def test_positions_are_compared_as_numbers(older: str, newer: str) -> None:
    """Whatever server wrote them, and however long they are."""
    assert covers(parse(newer), parse(older))
    assert covers(parse(older), parse(older))
    assert not covers(parse(older), parse(newer))


def test_every_stream_of_changes_counts() -> None:
    """MariaDB may have several."""
    assert covers(parse("0-1-5,1-1-9"), parse("1-1-9"))
    assert not covers(parse("0-1-5"), parse("0-1-5,1-1-9"))


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "nonsense",
        sign("nonsense"),
        sign(Token("0/1", 1, "", ""), key="another one, and long enough"),
        sign(Token("0/1", 1, "", ""), salt="session"),
        sign(("0/1", 1, "", "", "more")),
    ],
)
def test_what_was_not_signed_here_says_nothing(wrong: str) -> None:
    """As a header or as a cookie."""
    app = Flask("replicas")
    app.secret_key = SECRET
    for given in ({"Read-After": wrong}, {"Cookie": f"read_after={wrong}"}):
        with app.test_request_context(headers=given):
            assert told() == (Token(), 0)


def test_a_write_is_forgotten_after_its_time_though_reads_go_on() -> None:
    """Else a client that never stops reading would never get over a fail-over."""
    app = Flask("replicas")
    app.secret_key = SECRET
    now = int(time.time())
    for written_at, expected in ((now, ("0/1", now)), (now - 60, ("", 0))):
        header = {"Read-After": sign(Token("0/1", written_at, "0/2", "a"))}
        with app.test_request_context(headers=header):
            assert told()[0] == Token(*expected, "0/2", "a")


def test_a_machine_whose_clock_is_ahead_is_believed() -> None:
    """Its tokens are the newest ones."""
    app = Flask("replicas")
    app.secret_key = SECRET
    token = Token("0/1", int(time.time()) + 2, "", "")
    signed = URLSafeTimedSerializer(SECRET, salt="read_after", signer=Ahead).dumps(token)
    with app.test_request_context(headers={"Read-After": str(signed)}):
        assert told()[0] == token


def test_a_read_that_began_before_a_write_takes_nothing_of_it_away() -> None:
    """What writes and what reads tell are two cookies."""
    app = Flask("replicas")
    app.secret_key = SECRET
    now = int(time.time())
    wrote, saw = sign(Token("0/2", now, "", "")), sign(Token("0/1", now - 1, "", "a"))
    with app.test_request_context(headers={"Cookie": f"read_after={wrote}; read_after_seen={saw}"}):
        assert told()[0] == Token("0/2", now, "", "a")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"SQLALCHEMY_REPLICA_URIS": "nonsense"}, "SQLALCHEMY_REPLICA_URIS"),
        ({"SQLALCHEMY_REPLICA_LAG": 31}, "SQLALCHEMY_REPLICA_LAG: 31 is not accepted"),
        ({"SQLALCHEMY_REPLICA_URIS": "postgresql://u:hidden@h/d"}, "has no replicas"),
    ],
)
def test_wrong_settings_are_refused(config: dict[str, object], said: str) -> None:
    """In one line, without a password."""
    app = Flask("replicas")
    app.config.update(SQLALCHEMY_DATABASE_URI="sqlite:///:memory:", SECRET_KEY=SECRET, **config)
    with pytest.raises(settings.SettingError, match=said) as refused:
        Pool().init_app(app, db)
    assert "hidden" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_without_a_fit_replica_the_primary_does_for_all(make_app: Make, database_url: str) -> None:
    """The server itself is no replica: nobody reads from it as one, and nothing fails."""
    if database_url.startswith("sqlite"):
        pytest.skip("SQLite has no replicas")
    app = make_app(SQLALCHEMY_REPLICA_URIS=database_url, SECRET_KEY=SECRET)

    @app.route("/items", methods=["GET", "POST"])
    def items() -> str:
        if request.method == "POST":
            db.session.add(Item(name="new"))
            db.session.commit()
        return str(len(db.session.scalars(select(Item)).all()))

    with app.app_context():
        db.create_all()
    try:
        client = app.test_client()
        assert [client.get("/items").text for _ in range(5)] == ["0"] * 5
        answer = client.post("/items")
        assert answer.text == "1"
        assert "HttpOnly" in answer.headers["Set-Cookie"]
        assert answer.headers["Read-After"] in answer.headers["Set-Cookie"]
        assert [client.get("/items").text for _ in range(5)] == ["1"] * 5
        header = {"Read-After": answer.headers["Read-After"]}
        assert app.test_client(use_cookies=False).get("/items", headers=header).text == "1"
    finally:
        with app.app_context():
            db.session.remove()
            db.drop_all()


def test_a_write_in_autocommit_is_told_too(make_app: Make, database_url: str) -> None:
    """Nobody knows where it is, so that the primary is read next."""
    if database_url.startswith("sqlite"):
        pytest.skip("SQLite has no replicas")
    app = make_app(SQLALCHEMY_REPLICA_URIS=database_url, SECRET_KEY=SECRET)

    @app.post("/items")
    def items() -> str:
        with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("CREATE TABLE IF NOT EXISTS pool_told (id int)"))
            connection.execute(text("DROP TABLE pool_told"))
        return ""

    with app.test_client() as client:
        token = client.post("/items").headers["Read-After"]
    with app.test_request_context(headers={"Read-After": token}):
        assert told()[0].seen == "?"


def test_without_replicas_clients_are_told_nothing(make_app: Make) -> None:
    """Neither of a read nor of a write."""
    app = make_app(SECRET_KEY=SECRET)

    @app.post("/items")
    def items() -> str:
        db.session.execute(select(1))
        db.session.commit()
        return ""

    answer = app.test_client().post("/items")
    assert "Read-After" not in answer.headers
    assert "Set-Cookie" not in answer.headers
