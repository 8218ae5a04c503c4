"""The prompts, their defaults, and the values that are derived from the answers."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

import pytest
from bake import PROMPTS, ROOT, private_values, rendered
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.engine import make_url

CONFIG = json.loads((ROOT / "cookiecutter.json").read_text())


def test_the_defaults_are_as_promised() -> None:
    """The order of the prompts and their defaults are the template's contract."""
    assert {key: CONFIG[key] for key in PROMPTS if key not in ("project_slug", "description")} == {
        "project_name": "Flask Pool Service",
        "author_name": "Your Name",
        "author_email": "you@example.com",
        "database_url": "sqlite:///app.db",
        "pool_size": "5",
        "max_overflow": "10",
        "pool_timeout": "30",
        "pool_recycle": "1800",
        "docker": ["yes", "no"],
        "ci": ["github", "gitlab", "none"],
        "license": ["MIT", "Apache-2.0", "BSD-3-Clause", "Proprietary"],
    }
    assert private_values()["project_slug"] == "flask_pool_service"


def test_cookiecutter_json_can_be_read_by_people() -> None:
    """No line is long, and no expression is more than a value and a filter."""
    lines = (ROOT / "cookiecutter.json").read_text().splitlines()
    assert [line for line in lines if len(line) > 100] == []
    expressions = re.findall(r"\{\{.*?\}\}|\{%%.*?%%\}", "\n".join(lines))
    assert [code for code in expressions if len(code) > 80 or code.count("|") > 1] == []
    assert len(expressions) == len(set(expressions))


def test_every_prompt_and_choice_has_a_human_text() -> None:
    """Nobody is asked for a bare variable name."""
    texts = CONFIG["__prompts__"]
    assert set(texts) == set(PROMPTS)
    for prompt, text in texts.items():
        if isinstance(CONFIG[prompt], list):
            assert set(text) == {"__prompt__", *CONFIG[prompt]}


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Übung Café", "ubung_cafe"),
        ("服务", "fu_wu"),
        ("Сервис 24", "servis_24"),
        ("3D Shop", "service_3d_shop"),
        ("🎉", "service"),
        ("  My -- App!  ", "my_app"),
        ("程" * 80, "_".join(["cheng"] * 80)[:80].strip("_")),
        ("3" * 80, ("service_" + "3" * 80)[:80]),
    ],
)
def test_a_name_in_any_script_gives_a_slug(name: str, slug: str) -> None:
    """Letters are written in ASCII; a digit in front or nothing at all gets a word."""
    assert private_values(project_name=name)["project_slug"] == slug


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_free_text_is_right_in_toml(text: str) -> None:
    """Any Unicode text, quotes and controls too, comes back as it was from TOML."""
    line = rendered("value = {{ cookiecutter.description | toml }}", description=text)
    assert tomllib.loads(line) == {"value": text}


@pytest.mark.parametrize(
    ("given_url", "scheme", "family"),
    [
        ("sqlite:///app.db", "sqlite", "sqlite"),
        ("sqlite+pysqlite://", "sqlite", "sqlite"),
        ("postgres://h/d", "postgresql+psycopg", "postgresql"),
        ("postgresql://h/d", "postgresql+psycopg", "postgresql"),
        ("postgresql+psycopg://h/d", "postgresql+psycopg", "postgresql"),
        ("mysql://h/d", "mysql+pymysql", "mysql"),
        ("mariadb+pymysql://h/d", "mariadb+pymysql", "mysql"),
        ("postgresql://u@/d?host=a:1&host=b:2", "postgresql+psycopg", "postgresql"),
    ],
)
def test_the_driver_is_always_explicit(given_url: str, scheme: str, family: str) -> None:
    """Every way to write a scheme becomes the one with the driver that is installed."""
    values = private_values(database_url=given_url)
    assert values["__scheme"] == scheme
    assert values["__driver"] == family
    assert values["__database_url"] == f"{scheme}://" + given_url.partition("://")[2]


def test_the_hook_and_the_extension_name_the_same_drivers(hook: dict[str, Any]) -> None:
    """The hook stands alone: it can't import what the prompts use."""
    for family, right in hook["DRIVERS"].items():
        scheme = private_values(database_url=f"{family}://h/d")["__scheme"]
        assert scheme == right.removesuffix("+pysqlite")


def quoted(text: str) -> str:
    """Percent-encode all of a text."""
    return "".join(f"%{byte:02X}" for byte in text.encode())


@given(
    user=st.text("ab.-_", max_size=3),
    password=st.text(st.characters(codec="utf-8"), min_size=1),
    query=st.sampled_from(
        [
            *("", "?sslmode=require", "?password=hunter2&a=b", "?PassWd=hunter2"),
            *("?host=a:1&host=b:2&sslpassword=hunter2", "?scram_client_key=hunter2"),
        ]
    ),
)
def test_the_masked_url_keeps_all_but_passwords(user: str, password: str, query: str) -> None:
    """The URL that gets committed names the same database, without its passwords."""
    url = f"postgresql://{user}:{quoted(password)}@db.example.com:5433/shop{query}"
    masked = private_values(database_url=url)["__database_url"]
    parsed = make_url(masked)
    assert (parsed.username or "", parsed.password) == (user, "***")
    assert (parsed.host, parsed.port, parsed.database) == ("db.example.com", 5433, "shop")
    assert "hunter2" not in masked
    assert list(parsed.query) == list(make_url(url).query)
    assert parsed.query.get("host") == make_url(url).query.get("host")


@pytest.mark.parametrize(
    "url",
    [
        *("sqlite:///a@b:c.db", "sqlite:////abs/a.db?mode=ro", "sqlite:///a&password=b.db"),
        *("mysql+pymysql://u@h/d", "postgresql+psycopg://u@/d?host=a:1&host=b:2"),
    ],
)
def test_a_url_without_a_password_is_not_masked(url: str) -> None:
    """An @ or : elsewhere in the URL is not taken for a login."""
    assert private_values(database_url=url)["__database_url"] == url


@pytest.mark.parametrize("slug", ["", ".", "../evil", "/abs", "a/b/c", "a\\b", "a" * 81, "é"])
def test_a_slug_that_is_no_folder_name_never_becomes_a_folder(slug: str) -> None:
    """cookiecutter makes the folder before any hook runs, so the answer is replaced first."""
    values = private_values(project_slug=slug)
    assert values["project_slug"] == "refused_project_slug"
    assert values["__slug_as_given"] == slug
