"""Settings: where they come from, and which ones stop the start."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from flask import Config, Flask, current_app
from flask.cli import FlaskGroup
from flask_pool.settings import SettingError
from sqlalchemy.engine import make_url

from {{cookiecutter.project_slug}} import (
    create_app,
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
        ("SQLALCHEMY_POOL_TIMEOUT", "0"),
        ("MAX_CONTENT_LENGTH", "64k"),
        ("PORT", "65536"),
    ],
)
def test_a_wrong_value_stops_the_start_in_one_line_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    for variable in (f"FLASK_{name}", name):
        monkeypatch.setenv(variable, value)
        with pytest.raises(SettingError) as stop:
            make()
        assert stop.value.message.startswith(f"{variable}: {value!r} is not accepted; use ")
        assert "\n" not in stop.value.message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CONTENT_SECURITY_POLICY", "s3cr3t\nb"),
        ("SQLALCHEMY_BINDS", {"a": "s3cr3t"}),
        (URI, "postgresql://u:s3cr3t@a:1,b:2/d"),
        (URI, "mysql://u:s3cr3t@h/d?connect_timeout=abc"),
        (URI, "postgresql+nothing://u:s3cr3t@h/d"),
        (URI, "no url: s3cr3t"),
    ],
)
def test_a_wrong_value_that_may_be_secret_is_not_shown(name: str, value: object) -> None:
    with pytest.raises(SettingError) as stop:
        make(**{name: value})

    assert stop.value.message.startswith(f"{name}: ")
    assert "s3cr3t" not in stop.value.message


def test_the_environment_overrides_the_defaults_and_tests_override_both(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FLASK_SQLALCHEMY_POOL_SIZE", "6")
    monkeypatch.setenv("SQLALCHEMY_POOL_SIZE", "7")
    monkeypatch.setenv("SQLALCHEMY_MAX_OVERFLOW", "")  # empty is unset

    assert make().config["SQLALCHEMY_POOL_SIZE"] == 7
    assert make(SQLALCHEMY_POOL_SIZE=8).config["SQLALCHEMY_POOL_SIZE"] == 8
    assert isinstance(make().config["SQLALCHEMY_MAX_OVERFLOW"], int)


def test_any_key_of_flask_can_be_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASK_SESSION_COOKIE_SECURE", "true")
    monkeypatch.setenv("FLASK_SECRET_KEY", "0123456789012345")
    monkeypatch.setenv("FLASK_DEBUG", "no")
    monkeypatch.setenv("TESTING", "1")  # a shell's own business

    app = create_app({URI: "sqlite://"})

    assert app.config["SESSION_COOKIE_SECURE"] is True
    assert app.config["SECRET_KEY"] == "0123456789012345"
    assert not app.testing
    assert not app.debug


def test_a_flask_command_prefers_the_environment_to_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text(f"{URI}=sqlite:///file.db\nSECRET_KEY={SECRET}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", dict(os.environ))  # which the command adds to
    monkeypatch.setenv(URL, "sqlite:///environment.db")
    monkeypatch.setenv("FLASK_APP", create_app.__module__)
    flask, found = FlaskGroup(), Config(tmp_path)

    @flask.command("show")
    def show() -> None:
        found.update(current_app.config)

    flask.main(["show"], standalone_mode=False)

    assert "environment.db" in str(found[URI])
    assert found["SECRET_KEY"] == SECRET


def test_the_file_is_read_by_what_starts_the_service_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("SQLALCHEMY_POOL_SIZE=9\n")
    monkeypatch.chdir(tmp_path)

    assert make().config["SQLALCHEMY_POOL_SIZE"] != 9


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("postgres://u:p%40%25@h/d", "postgresql+psycopg://u:p%40%25@h/d"),
        ("mariadb://u:p@h/d", "mariadb+pymysql://u:p@h/d"),
        ("sqlite:////never/opened, or made.db", "sqlite:////never/opened, or made.db"),
    ],
)
def test_a_url_without_a_driver_stands_for_the_installed_one(given: str, used: str) -> None:
    url = make(SQLALCHEMY_DATABASE_URI=given).extensions["pool"].engines["default"].url

    assert url == make_url(used)


@pytest.mark.parametrize("secret", [None, "", "short", "change-me-change-me-change-me"])
def test_production_does_not_start_without_a_secret_key(secret: str | None) -> None:
    production = {URI: "sqlite:////never/opened.db"}

    with pytest.raises(SettingError, match=r"^SECRET_KEY: "):
        create_app(production | {"SECRET_KEY": secret})

    assert not create_app(production | {"SECRET_KEY": SECRET}).debug
