"""Settings: where they come from, and which ones stop the start."""

from __future__ import annotations

import pytest
from flask import Flask

import {{cookiecutter.project_slug}} as service

MEMORY = {"TESTING": True, "SQLALCHEMY_DATABASE_URI": "sqlite://"}
SECRET = "0123456789abcdef0123456789abcdef"  # noqa: S105


def make(**settings: object) -> Flask:
    return service.create_app(MEMORY | settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SQLALCHEMY_POOL_SIZE", "-5"),
        ("SQLALCHEMY_POOL_SIZE", "0"),
        ("SQLALCHEMY_POOL_SIZE", "1_0"),
        ("SQLALCHEMY_POOL_SIZE", "५"),
        ("SQLALCHEMY_POOL_SIZE", "2.5"),
        ("SQLALCHEMY_POOL_SIZE", True),
        ("SQLALCHEMY_MAX_OVERFLOW", "-1"),
        ("SQLALCHEMY_MAX_OVERFLOW", "-7"),
        ("SQLALCHEMY_POOL_TIMEOUT", "0"),
        ("SQLALCHEMY_POOL_TIMEOUT", "-1"),
        ("SQLALCHEMY_POOL_TIMEOUT", "nan"),
        ("SQLALCHEMY_POOL_TIMEOUT", "3601"),
        ("SQLALCHEMY_POOL_RECYCLE", "0"),
        ("SQLALCHEMY_POOL_RECYCLE", "-2"),
        ("SQLALCHEMY_POOL_PING_AFTER", "-1"),
        ("SQLALCHEMY_CONNECT_TIMEOUT", "soon"),
        ("SQLALCHEMY_STATEMENT_TIMEOUT", "0"),
        ("SQLALCHEMY_MAX_WAITING", "-1"),
        ("SQLALCHEMY_EXTERNAL_POOLER", "pgpool"),
        ("POOL_PREFILL", "maybe"),
        ("SERVER_TIMING", "2"),
        ("WEB_CONCURRENCY", "0"),
        ("WEB_THREADS", "many"),
        ("PORT", "65536"),
    ],
)
def test_a_wrong_value_stops_the_start_in_one_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch, name: str, value: object
) -> None:
    with pytest.raises(service.config.SettingError) as stop:
        make(**{name: value})
    if isinstance(value, str):  # as an environment variable too
        monkeypatch.setenv(name, value)
        with pytest.raises(service.config.SettingError):
            make()

    assert stop.value.message.startswith(f"{name}: {value!r} is not accepted; use ")
    assert "\n" not in stop.value.message


def test_all_wrong_values_are_told_at_once() -> None:
    with pytest.raises(service.config.SettingError) as stop:
        make(SQLALCHEMY_POOL_SIZE=0, PORT=0)

    assert len(stop.value.message.splitlines()) == 2


def test_the_environment_overrides_the_defaults_and_tests_override_both(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SQLALCHEMY_POOL_SIZE", "7")
    monkeypatch.setenv("SQLALCHEMY_MAX_OVERFLOW", "")  # empty is unset

    app = make(SQLALCHEMY_POOL_TIMEOUT=1.5)

    assert app.config["SQLALCHEMY_POOL_SIZE"] == 7
    assert app.config["SQLALCHEMY_POOL_TIMEOUT"] == 1.5
    assert make(SQLALCHEMY_POOL_SIZE=8).config["SQLALCHEMY_POOL_SIZE"] == 8


def test_more_threads_than_connections_are_not_the_default() -> None:
    few = make(SQLALCHEMY_POOL_SIZE=1, SQLALCHEMY_MAX_OVERFLOW=2)

    assert few.config["WEB_THREADS"] == 3


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("postgres://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
        ("postgresql://u:p%40%25@h/d", "postgresql+psycopg://u:p%40%25@h/d"),
        ("mysql://u:p@h/d", "mysql+pymysql://u:p@h/d"),
        ("mariadb://u:p@h/d", "mariadb+pymysql://u:p@h/d"),
        ("sqlite:///app.db", "sqlite:///app.db"),
    ],
)
def test_the_driver_is_always_explicit(given: str, used: str) -> None:
    assert service.config.database_url(given) == used


def test_hosting_platforms_name_the_database_their_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://u:secret@h/d")
    monkeypatch.delenv("SQLALCHEMY_DATABASE_URI", raising=False)

    app = service.create_app({"TESTING": True})

    assert app.extensions["pool"].engines["default"].url.drivername == "postgresql+psycopg"


@pytest.mark.parametrize(
    ("url", "accepted"),
    [
        ("postgresql+psycopg2://u:secret@h/d", "postgresql+psycopg://"),
        ("mysql+mysqldb://u:secret@h/d", "mysql+pymysql://"),
        ("oracle://u:secret@h/d", "postgresql"),
        ("postgresql://u:secret@h", "DATABASE"),
        ("postgresql://u:***@h/d", "password"),
        ("no url: secret", "a URL"),
    ],
)
def test_a_url_is_refused_without_showing_its_password(
    monkeypatch: pytest.MonkeyPatch, url: str, accepted: str
) -> None:
    monkeypatch.setenv("SQLALCHEMY_DATABASE_URI", url)

    with pytest.raises(service.config.SettingError) as stop:
        service.create_app({"TESTING": True})

    assert stop.value.message.startswith("SQLALCHEMY_DATABASE_URI: ")
    assert accepted in stop.value.message
    assert "secret" not in stop.value.message


@pytest.mark.parametrize("secret", [None, "", "short", "change-me-change-me-change-me"])
def test_production_does_not_start_without_a_secret_key(
    monkeypatch: pytest.MonkeyPatch, secret: str | None
) -> None:
    monkeypatch.delenv("SECRET_KEY", raising=False)
    monkeypatch.delenv("FLASK_DEBUG", raising=False)
    settings = {"SQLALCHEMY_DATABASE_URI": "sqlite://", "SECRET_KEY": secret}

    with pytest.raises(service.config.SettingError, match=r"^SECRET_KEY: "):
        service.create_app(settings)

    assert not service.create_app(settings | {"SECRET_KEY": SECRET}).debug


def test_the_four_numbers_reach_the_pool() -> None:
    app = service.create_app(
        {
            "TESTING": True,
            "SQLALCHEMY_DATABASE_URI": "sqlite:////never/opened.db",
            "SQLALCHEMY_POOL_SIZE": 3,
            "SQLALCHEMY_MAX_OVERFLOW": 2,
            "SQLALCHEMY_POOL_TIMEOUT": 4.5,
            "SQLALCHEMY_POOL_RECYCLE": 60,
        }
    )

    pool = app.extensions["pool"].engines["default"].pool

    assert (pool.size(), pool.gate.capacity, pool.timeout(), pool.recycle) == (3, 5, 4.5, 60)
