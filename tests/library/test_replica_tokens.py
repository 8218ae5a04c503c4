"""What clients bring back, and positions, as far as no server is needed."""

from __future__ import annotations

import time
from typing import Any

import pytest
from flask import Flask
from flask_pool.extension import Pool
from flask_pool.replicas.positions import covers, parse
from flask_pool.replicas.tokens import Token, told
from flask_pool.settings import SettingError
from flask_sqlalchemy import SQLAlchemy
from itsdangerous import TimestampSigner, URLSafeTimedSerializer

SECRET = "0123456789abcdef0123456789abcdef"


class Ahead(TimestampSigner):
    """Signs on a machine whose clock is ahead."""

    def get_timestamp(self) -> int:
        return super().get_timestamp() + 2


def sign(token: Token | tuple[Any, ...] | str, key: str = SECRET, salt: str = "read_after") -> str:
    """Sign what a client brings back."""
    return str(URLSafeTimedSerializer(key, salt=salt).dumps(token))


@pytest.fixture
def app() -> Flask:
    """Give an application that signs."""
    app = Flask("replicas")
    app.secret_key = SECRET
    return app


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
    ids=["empty", "nonsense", "text", "key", "salt", "longer"],
)
def test_what_was_not_signed_here_says_nothing(app: Flask, wrong: str) -> None:
    """As a header or as a cookie."""
    for given in ({"Read-After": wrong}, {"Cookie": f"read_after={wrong}"}):
        with app.test_request_context(headers=given):
            assert told() == (Token(), 0)


def test_a_write_is_forgotten_after_its_time_though_reads_go_on(app: Flask) -> None:
    """Else a client that never stops reading would never get over a fail-over."""
    now = int(time.time())
    for written_at, expected in ((now, ("0/1", now)), (now - 60, ("", 0))):
        header = {"Read-After": sign(Token("0/1", written_at, "0/2", "a"))}
        with app.test_request_context(headers=header):
            assert told()[0] == Token(*expected, "0/2", "a")


def test_a_machine_whose_clock_is_ahead_is_believed(app: Flask) -> None:
    """Its tokens are the newest ones."""
    token = Token("0/1", int(time.time()) + 2, "", "")
    signed = URLSafeTimedSerializer(SECRET, salt="read_after", signer=Ahead).dumps(token)
    with app.test_request_context(headers={"Read-After": str(signed)}):
        assert told()[0] == token


def test_a_read_that_began_before_a_write_takes_nothing_of_it_away(app: Flask) -> None:
    """What writes and what reads tell are two cookies."""
    now = int(time.time())
    wrote, saw = sign(Token("0/2", now, "", "")), sign(Token("0/1", now - 1, "", "a"))
    with app.test_request_context(headers={"Cookie": f"read_after={wrote}; read_after_seen={saw}"}):
        assert told()[0] == Token("0/2", now, "", "a")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"SQLALCHEMY_REPLICA_URIS": "nonsense"}, "SQLALCHEMY_REPLICA_URIS"),
        ({"SQLALCHEMY_REPLICA_LAG": 31}, "SQLALCHEMY_REPLICA_LAG: 31 is not accepted"),
        ({"SQLALCHEMY_DATABASE_URI": "sqlite:///:memory:"}, "has no replicas"),
        ({"SQLALCHEMY_REPLICA_URIS": "mysql://u:hidden@h/d"}, "use the primary's kind"),
        ({"SQLALCHEMY_ENGINE_OPTIONS": {"creator": print}}, "'creator' leads to one server"),
        ({"SECRET_KEY": None}, "set SECRET_KEY"),
    ],
)
def test_wrong_settings_are_refused(app: Flask, config: dict[str, Any], said: str) -> None:
    """In one line, without a password."""
    app.config.update(
        {
            "SQLALCHEMY_DATABASE_URI": "postgresql+psycopg://h/d",
            "SQLALCHEMY_REPLICA_URIS": "postgresql://u:hidden@h/d",
        }
        | config
    )
    with pytest.raises(SettingError, match=said) as refused:
        Pool().init_app(app, SQLAlchemy())
    assert "hidden" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_replica_is_not_searched_for_among_several_hosts_that_take_writes(app: Flask) -> None:
    """And has the numbers and options of its primary's pool else."""
    app.config.update(
        SQLALCHEMY_DATABASE_URI="postgresql+psycopg://u@/d?host=a:1&host=b:2",
        SQLALCHEMY_REPLICA_URIS="postgresql://u@/d?host=c:1&host=d:2 postgresql://u@e/d",
        SQLALCHEMY_POOL_SIZE=3,
        SQLALCHEMY_ENGINE_OPTIONS={"pool_use_lifo": True},
    )
    Pool().init_app(app, SQLAlchemy())
    pools = app.extensions["pool"]
    assert list(pools.engines) == ["default", "replica-1", "replica-2"]
    for name in ("replica-1", "replica-2"):
        pool = pools.engines[name].pool
        assert (type(pool), pool.size()) == (type(pools.engines["default"].pool), 3)
        assert pool._take_last


def test_without_replicas_clients_are_told_nothing(app: Flask) -> None:
    """Neither of a read nor of a write."""
    db = SQLAlchemy()
    app.config.update(SQLALCHEMY_DATABASE_URI="sqlite:///:memory:")
    Pool().init_app(app, db)

    @app.post("/items")
    def items() -> str:
        db.session.execute(db.select(1))
        db.session.commit()
        return ""

    answer = app.test_client().post("/items")
    assert "Read-After" not in answer.headers
    assert "Set-Cookie" not in answer.headers
