"""Settings: where they come from, and which ones stop the start."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from flask import Config, Flask, current_app
from flask.cli import FlaskGroup
from sqlalchemy.engine import make_url

from {{cookiecutter.project_slug}} import (
    config,
    create_app,
)
from {{cookiecutter.project_slug}}.pool import (
    settings,
)

FILE = {"TESTING": True, "SQLALCHEMY_DATABASE_URI": "sqlite:////never/opened.db"}
SECRET = "0123456789abcdef0123456789abcdef"
URI, URL = "SQLALCHEMY_DATABASE_URI", "DATABASE_URL"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (URI, URL, "SECRET_KEY", "FLASK_DEBUG"):
        monkeypatch.delenv(name, raising=False)


def make(**given: object) -> Flask:
    return create_app(FILE | given)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SQLALCHEMY_POOL_SIZE", "-5"),
        ("SQLALCHEMY_POOL_SIZE", "0"),
        ("SQLALCHEMY_POOL_SIZE", "1_0"),
        ("SQLALCHEMY_POOL_SIZE", "५"),
        ("SQLALCHEMY_POOL_SIZE", "2.5"),
        ("SQLALCHEMY_POOL_SIZE", "9" * 5000),
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
        ("SQLALCHEMY_STATEMENT_TIMEOUT", "0.0005"),
        ("SQLALCHEMY_MAX_WAITING", "-1"),
        ("SQLALCHEMY_EXTERNAL_POOLER", "pgpool"),
        ("POOL_PREFILL", "maybe"),
        ("SERVER_TIMING", "2"),
        ("WEB_CONCURRENCY", "0"),
        ("WEB_THREADS", "many"),
        ("PORT", "65536"),
        ("MAX_CONTENT_LENGTH", "64k"),
    ],
)
def test_a_wrong_value_stops_the_start_in_one_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch, name: str, value: object
) -> None:
    with pytest.raises(settings.SettingError) as stop:
        make(**{name: value})
    if isinstance(value, str):  # as an environment variable too
        monkeypatch.setenv(f"FLASK_{name}", value)
        with pytest.raises(settings.SettingError, match=f"^FLASK_{name}: "):
            make()

    assert stop.value.message.startswith(f"{name}: {value!r} is not accepted; use ")
    assert "\n" not in stop.value.message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HOST", " "),
        ("HOST", "a b"),
        ("OPS_TOKEN", "s3cr3t\nb"),
        ("CONTENT_SECURITY_POLICY", "a\nb"),
        ("SQLALCHEMY_ENGINE_OPTIONS", 5),
        ("SQLALCHEMY_BINDS", {"a": "s3cr3t"}),
        ("SQLALCHEMY_DATABASE_URI", "postgresql://u:s3cr3t@a:1,b:2/d"),
        ("SQLALCHEMY_DATABASE_URI", "mysql://u:s3cr3t@h/d?connect_timeout=abc"),
        ("SQLALCHEMY_DATABASE_URI", "sqlite://h/x"),
    ],
)
def test_what_would_break_every_request_is_refused_and_not_shown(name: str, value: object) -> None:
    with pytest.raises(settings.SettingError) as stop:
        make(**{name: value})

    assert stop.value.message.startswith(f"{name}: ")
    assert "\n" not in stop.value.message
    assert "s3cr3t" not in stop.value.message


def test_all_wrong_values_are_told_at_once() -> None:
    with pytest.raises(settings.SettingError) as stop:
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


def test_any_key_of_flask_can_be_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASK_SESSION_COOKIE_SECURE", "true")
    monkeypatch.setenv("FLASK_SQLALCHEMY_POOL_SIZE", "7")
    monkeypatch.setenv("FLASK_SECRET_KEY", "0123456789012345")
    monkeypatch.setenv("TESTING", "1")  # a shell's own business

    app = create_app({URI: "sqlite://"})

    assert app.config["SESSION_COOKIE_SECURE"] is True
    assert app.config["SQLALCHEMY_POOL_SIZE"] == 7
    assert app.config["SECRET_KEY"] == "0123456789012345"
    assert not app.testing


def test_an_own_key_is_a_key_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = {"GREETING": "hello", "STEPS": [1, 2]}
    environ = {"GREETING": "hi", "FLASK_GREETING": "no", "FLASK_STEPS": "[3]", "OTHER": "unknown"}

    assert settings.read(defaults, {}) == defaults
    assert settings.read(defaults, environ) == {"GREETING": "hi", "STEPS": [3]}
    assert settings.read(defaults, environ, {"GREETING": "test"})["GREETING"] == "test"


def test_the_service_has_a_thread_for_each_connection_within_reason() -> None:
    sizes = (1, 5, 100)

    assert [make(SQLALCHEMY_POOL_SIZE=size).config["WEB_THREADS"] for size in sizes] == [2, 5, 8]


def test_a_large_body_is_refused_by_default() -> None:
    assert make().config["MAX_CONTENT_LENGTH"] == 64 * 1024


def test_the_values_of_statements_are_kept_out_of_logs() -> None:
    assert make().extensions["pool"].engines["default"].hide_parameters


def test_timings_are_for_those_who_debug(monkeypatch: pytest.MonkeyPatch) -> None:
    assert make().config["SERVER_TIMING"] is False
    monkeypatch.setenv("FLASK_DEBUG", "1")
    assert make().config["SERVER_TIMING"] is True


@pytest.mark.parametrize(
    ("environ", "dotenv", "used"),
    [
        ({URI: "a", URL: "b"}, {}, "a"),
        ({URL: "b", f"FLASK_{URI}": "c"}, {}, "b"),
        ({URL: "b"}, {URI: "d"}, "b"),
        ({f"FLASK_{URI}": "c"}, {URI: "d", URL: "e"}, "c"),
        ({URI: ""}, {URL: "e"}, "e"),
        ({}, {URI: "d", URL: "e"}, "d"),
    ],
)
def test_the_environment_counts_more_than_the_file_by_whatever_name(
    environ: dict[str, str], dotenv: dict[str, str | None], used: str
) -> None:
    settings.add_dotenv(environ, dotenv)

    assert settings.from_environment([URI], environ) == {URI: used}


def test_a_flask_command_takes_the_database_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text(f"{URI}=sqlite:///file.db\nSECRET_KEY={SECRET}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", dict(os.environ))  # which the command adds to
    monkeypatch.setenv(URL, "postgres://u@h/environment")
    monkeypatch.setenv("FLASK_APP", create_app.__module__)
    flask, found = FlaskGroup(), Config(tmp_path)

    @flask.command("show")
    def show() -> None:
        found.update(current_app.config)

    flask.main(["show"], standalone_mode=False)

    assert (found[URI].database, found["SECRET_KEY"]) == ("environment", SECRET)


def test_the_file_is_read_by_what_starts_the_service(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("GREETING=hello\n")
    monkeypatch.chdir(tmp_path)

    assert config.dotenv() == {"GREETING": "hello"}
    assert "GREETING" not in make().config


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
    assert settings.database_url(given) == used


def test_a_file_may_have_a_comma_in_its_name() -> None:
    url = make_url(settings.database_url("sqlite:////a folder, or two/app.db"))

    assert url.database == "/a folder, or two/app.db"


@pytest.mark.parametrize("name", [URI, URL])
@pytest.mark.parametrize(
    ("url", "accepted"),
    [
        ("postgresql+psycopg2://u:secret@h/d", "postgresql+psycopg://"),
        ("mysql+mysqldb://u:secret@h/d", "mysql+pymysql://"),
        ("oracle://u:secret@h/d", "postgresql"),
        ("postgresql://u:secret@h", "DATABASE"),
        ("postgresql://h?user=u&password=secret", "DATABASE"),
        ("postgresql://u:***@h/d", "password"),
        ("no url: secret", "a URL"),
    ],
)
def test_a_url_is_refused_without_showing_its_password(
    monkeypatch: pytest.MonkeyPatch, name: str, url: str, accepted: str
) -> None:
    monkeypatch.setenv(name, url)

    with pytest.raises(settings.SettingError) as stop:
        create_app({"TESTING": True})

    assert stop.value.message.startswith(f"{name}: ")
    assert accepted in stop.value.message
    assert "secret" not in stop.value.message


@pytest.mark.parametrize("secret", [None, "", "short", "change-me-change-me-change-me"])
def test_production_does_not_start_without_a_secret_key(secret: str | None) -> None:
    production = {URI: "sqlite:////never/opened.db"}

    with pytest.raises(settings.SettingError, match=r"^SECRET_KEY: "):
        create_app(production | {"SECRET_KEY": secret})

    assert not create_app(production | {"SECRET_KEY": SECRET}).debug
