"""Settings: what each accepts, where its value comes from, and what a server's master loads."""

from __future__ import annotations

import click
import pytest
from bake import FOLDER, ROOT
from click.testing import CliRunner
from flask import Flask
from flask_pool import Pool, settings
from flask_sqlalchemy import SQLAlchemy

URI, URL = "SQLALCHEMY_DATABASE_URI", "DATABASE_URL"
WRONG: dict[str, tuple[object, ...]] = {
    "SQLALCHEMY_POOL_SIZE": ("-5", "0", "1_0", "५", "2.5", "9" * 5000, True),
    "SQLALCHEMY_MAX_OVERFLOW": ("-1", "-7"),
    "SQLALCHEMY_POOL_TIMEOUT": ("0", "-1", "nan", "3601"),
    "SQLALCHEMY_POOL_RECYCLE": ("0", "-2"),
    "SQLALCHEMY_POOL_PING_AFTER": ("-1",),
    "SQLALCHEMY_CONNECT_TIMEOUT": ("soon", "0.0005"),
    "SQLALCHEMY_STATEMENT_TIMEOUT": ("0", "0.0005"),
    "SQLALCHEMY_MAX_WAITING": ("-1",),
    "SQLALCHEMY_EXTERNAL_POOLER": ("pgpool",),
    "SQLALCHEMY_REPLICA_LAG": ("31",),
    "POOL_PREFILL": ("maybe",),
    "POOL_QUEUE_TARGET": ("-0.1", "3601"),
    "POOL_QUEUE_INTERVAL": ("0",),
    "POOL_HELD_WARNING": ("0",),
    "POOL_LEAK_AFTER": ("0",),
    "POOL_URL_PREFIX": ("internal", "/", "/a/", "/a b", 5),
    "SERVER_TIMING": ("2",),
    "WEB_CONCURRENCY": ("0",),
    "WEB_THREADS": ("many",),
    "HOST": (" ", "a b"),
    "PORT": ("65536",),
    URI: ("sqlite://h/x",),
}
SECRET: dict[str, tuple[object, ...]] = {
    "OPS_TOKEN": ("s3cr3t\nb",),
    "SQLALCHEMY_REPLICA_URIS": ("postgresql+psycopg://u:s3cr3t@h/d no:s3cr3t",),
    "SQLALCHEMY_BINDS": ({"a": "s3cr3t"}, {"a": {"url": "s3cr3t"}}, "s3cr3t"),
    URI: (
        "s3cr3t",
        "nothing://u:s3cr3t@h/d",
        "postgresql+nothing://u:s3cr3t@h/d",
        "postgresql://u:s3cr3t@a:1,b:2/d",
        "mysql+pymysql://u:s3cr3t@h/d?connect_timeout=abc",
    ),
}
EVERY = settings.CHECKS | settings.SERVICE_CHECKS


def cases(values: dict[str, tuple[object, ...]]) -> list[tuple[str, object]]:
    return [(name, value) for name, each in values.items() for value in each]


def refusal(name: str, value: object) -> str:
    with pytest.raises(settings.SettingError) as stop:
        settings.checked({name: value}, EVERY)
    assert stop.value.message.startswith(f"{name}: ")
    assert "\n" not in stop.value.message
    return stop.value.message


@pytest.mark.parametrize(("name", "value"), cases(WRONG))
def test_a_wrong_value_is_refused_in_one_line(name: str, value: object) -> None:
    assert f"{value!r} is not accepted; use " in refusal(name, value)


@pytest.mark.parametrize(("name", "value"), cases(SECRET))
def test_a_wrong_value_that_may_be_secret_is_not_shown(name: str, value: object) -> None:
    assert "s3cr3t" not in refusal(name, value)


def test_every_wrong_value_has_its_line() -> None:
    with pytest.raises(settings.SettingError) as stop:
        settings.checked({"SQLALCHEMY_POOL_SIZE": 0, "PORT": 0})

    assert len(stop.value.message.splitlines()) == 2


@pytest.mark.parametrize(
    "url",
    ["postgres://h/d", "postgresql://h/d", "sqlite:///a, b.db", "sqlite://", "mysql+pymysql://h/d"],
)
def test_a_url_stays_as_it_is(url: str) -> None:
    assert settings.checked({URI: url}) == {URI: url}


def test_every_default_is_accepted() -> None:
    given = {name: value for name, value in settings.DEFAULTS.items() if value is not None}

    assert settings.checked(given) == given
    assert settings.checked(dict.fromkeys(settings.CHECKS)) == dict.fromkeys(settings.CHECKS)


@pytest.mark.parametrize("name", settings.SETTINGS)
def test_every_setting_is_documented(name: str) -> None:
    sentence = settings.SETTINGS[name].doc
    assert sentence.endswith(".")
    assert f"{name}=" in (ROOT / FOLDER / ".env.example").read_text("utf-8")


def test_a_worker_has_a_thread_for_each_connection_from_two_to_eight() -> None:
    for size, threads in ((1, 2), (5, 5), (100, 8)):
        found = settings.with_defaults({"SQLALCHEMY_POOL_SIZE": size})
        assert found["WEB_THREADS"] == threads


def test_an_own_key_is_a_key_like_any_other() -> None:
    defaults = {"GREETING": "hello", "STEPS": [1, 2]}
    environ = {"GREETING": "hi", "FLASK_GREETING": "no", "FLASK_STEPS": "[3]", "OTHER": "unknown"}

    assert settings.read(defaults, {}) == defaults
    assert settings.read(defaults, environ) == {"GREETING": "hi", "STEPS": [3]}
    assert settings.read(defaults, environ, {"GREETING": "test"})["GREETING"] == "test"


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


def test_an_application_with_a_wrong_value_ends_a_command_in_one_line() -> None:
    @click.command
    def command() -> None:
        app = Flask("wrong")
        app.config.update(SQLALCHEMY_DATABASE_URI="sqlite://", SQLALCHEMY_POOL_SIZE="x")
        Pool(app, SQLAlchemy())

    result = CliRunner().invoke(command)

    line = "SQLALCHEMY_POOL_SIZE: 'x' is not accepted; use a whole number from 1 to 1000"
    assert (result.exit_code, result.output) == (1, f"Error: {line}\n")
