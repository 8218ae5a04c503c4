"""Answers that want to break out: they stay data, in every file and in the hooks."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bake import BakedProject, Refused
from conftest import Bake
from parses import assert_parses, env, toml
from sqlalchemy.engine import make_url

CALLS = [
    "touch('{0}')",
    "__import__('pathlib').Path('{0}').touch()",
    "\"); __import__('pathlib').Path('{0}').touch(); (\"",
    "'); __import__('pathlib').Path(\"{0}\").touch(); ('",
    "'''); __import__('pathlib').Path('{0}').touch(); ('''",
    '"""); __import__("pathlib").Path("{0}").touch(); ("""',
    "\\'''); __import__('pathlib').Path('{0}').touch() #",
    "$(touch {0})",
    "`touch {0}`",
    "; touch {0} #",
    "${{IFS}}&& touch {0}",
    "$(shell touch {0})",
    "!!python/object/apply:os.system ['touch {0}']",
]
TEXTS = [
    'a "quoted" word',
    "it's",
    "'''",
    '"""',
    "\\",
    "\\\\\"'\\",
    "C:\\new\\table\\u0041",
    "{% raw %} {% endraw %} {# note #}",
    "{% for x in y %}",
    "}} %}",
    "%s %(name)s %%",
    "${HOME} $HOME $$",
    "<script>alert(1)</script>",
    "<!-- --> ]]> <b>",
    "# [x](y) `code` *",
    "- a: b, [c]: {d",
    "= [[table]]",
    "emoji 😀 and 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𐍈",
    "👩‍👩‍👧 \u202e right to left",
    "\ufeffbyte order mark \ufffe \uffff",
    "é e\u0301 ﬃ",
]


def some(values: list[str]) -> list[Any]:
    """Leave all but each third value to `make check`."""
    return [
        value if number % 3 == 0 else pytest.param(value, marks=pytest.mark.repeat)
        for number, value in enumerate(values)
    ]


def bake_texts(bake: Bake, text: str) -> BakedProject:
    """Bake a project whose every free text is this one."""
    return bake(project_name=text[:80], project_slug="shop", description=text, author_name=text)


@pytest.mark.parametrize("text", some(TEXTS))
def test_any_text_comes_back_as_it_was(bake: Bake, text: str) -> None:
    """Name, description and author survive TOML and the license, and nothing else breaks."""
    project = bake_texts(bake, text)
    assert_parses(project)
    about = toml(project)["project"]
    assert about["description"] == text
    assert about["authors"][0]["name"] == text
    assert text in project.text("LICENSE")


@pytest.mark.parametrize("call", some(CALLS))
def test_code_in_an_answer_is_never_run(bake: Bake, tmp_path: Path, call: str) -> None:
    """Neither by the hooks nor by make, the shell or Python in the baked project."""
    sentinel = tmp_path / "executed"
    text = call.format(sentinel)
    project = bake(
        project_name=call.format("x"), project_slug="shop", description=text, author_name=text
    )
    assert_parses(project)
    project.run("make", "--dry-run", "test")
    project.run("sh", "-c", ". ./.env")
    assert not sentinel.exists()
    for prompt in ("project_slug", "author_email", "database_url", "pool_size", "pool_timeout"):
        with pytest.raises(Refused) as refused:
            bake(**{prompt: text})
        assert refused.value.prompts == [prompt]
    assert not sentinel.exists()


@pytest.mark.parametrize(
    "slug", ["../evil", "../../evil/deep", "a/../../evil", "{outside}/evil/deep", "a/b/c"]
)
def test_a_path_as_slug_writes_nowhere(bake: Bake, tmp_path: Path, slug: str) -> None:
    """Not even a folder that would be removed again."""
    outside = tmp_path / "outside"
    outside.mkdir()
    with pytest.raises(Refused):
        bake(project_slug=slug.format(outside=outside))
    assert {path.name for path in tmp_path.rglob("*")} <= {"outside", "baked"}


PASSWORD = "p@ss:w/r?d#%&'\"\\`$(id)!*; \u00e9😀"
URL = "postgresql://app:" + "".join(f"%{b:02X}" for b in PASSWORD.encode()) + "@db.example.com/shop"


def test_every_reader_of_env_gets_the_same_url(bake: Bake) -> None:
    """Flask, the shell, make and docker --env-file read .env; each in its own way."""
    project = bake(database_url=URL)
    expected = URL.replace("postgresql://", "postgresql+psycopg://")
    assert env(project)["SQLALCHEMY_DATABASE_URI"] == expected
    assert make_url(expected).password == PASSWORD

    shell = project.run("sh", "-c", '. ./.env; printf %s "$SQLALCHEMY_DATABASE_URI"')
    assert shell.stdout == expected
    show = "include .env\nshow:\n\t@echo '$(SQLALCHEMY_DATABASE_URI)'\n"
    (project.path / "show.mk").write_text(show)
    assert project.run("make", "--file=show.mk", "show").stdout.strip() == expected
    literal = re.search("^SQLALCHEMY_DATABASE_URI=(.*)$", project.text(".env"), re.MULTILINE)
    assert literal
    assert literal.group(1) == expected


def test_a_url_with_shell_characters_is_quoted_in_env(bake: Bake) -> None:
    """An & between parameters would send a command to the background."""
    url = "postgresql://app:a;b&c(d)@h/shop?sslmode=disable&connect_timeout=3"
    project = bake(database_url=url)
    expected = url.replace("postgresql://", "postgresql+psycopg://")
    assert env(project)["SQLALCHEMY_DATABASE_URI"] == expected
    shell = project.run("sh", "-c", '. ./.env; printf %s "$SQLALCHEMY_DATABASE_URI"')
    assert shell.stdout == expected


def ask(template: Path, folder: Path, answers: list[str]) -> subprocess.CompletedProcess[str]:
    """Run cookiecutter as a person does: one answer a line, empty for the default."""
    return subprocess.run(
        [sys.executable, "-m", "cookiecutter", str(template)],
        cwd=folder,
        input="\n".join(answers + [""] * 13),
        capture_output=True,
        text=True,
        check=False,
    )


def test_typed_answers_are_data_too(template: Path, tmp_path: Path) -> None:
    """What a person types never passes through Jinja."""
    done = ask(template, tmp_path, ["{% x %} \"' \\ 😀", "shop", "{# no {% comment"])
    assert done.returncode == 0, done.stderr
    project = BakedProject(tmp_path / "shop", {}, done.stdout)
    assert toml(project)["project"]["description"] == "{# no {% comment"
    assert "Name of the project, as people read it" in done.stdout


def test_typed_template_code_is_refused(template: Path, tmp_path: Path) -> None:
    """cruft keeps answers and would run it with the next update."""
    done = ask(template, tmp_path, ["Shop", "shop", "{{ 7 * 7 }}"])
    assert done.returncode == 1
    assert "description: '{{ 7 * 7 }}' is not accepted" in done.stderr
    assert list(tmp_path.iterdir()) == []
