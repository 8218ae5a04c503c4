"""Wrong answers: each is refused by name, all at once, and nothing is left on disk."""

from __future__ import annotations

import keyword
import subprocess
import sys
from pathlib import Path

import pytest
from bake import PROMPTS, Refused
from conftest import Bake, Checks
from parses import env
from sqlalchemy.engine import make_url

WRONG: dict[str, list[str]] = {
    "project_name": ["", "   ", "x" * 81, "a\nb", "a\tb", "a\x7fb", "a\u2028b", "\ud83d", "a\x00b"],
    "project_slug": [
        *("", ".", "..", "../evil", "/tmp/evil", "a/b/c", "a\\b", "-rf", "a-b", "a.b", "a b"),
        *("Service", "9lives", "_private", "é", "ａ", "a\n", "x" * 81, "a\x00b", "$(id)", "`id`"),
        *("class", "match", "type", "logging", "test", "distutils", "telnetlib", "flask"),
        *("sqlalchemy", "psycopg_binary", "matplotlib", "tests", "src", "con", "com1", "__init__"),
    ],
    "description": ["x" * 201, "two\nlines", "a\rb", "a\x85b", "a\x1bb"],
    "author_name": ["", "a\nb", "x" * 201, "a\x00b"],
    "author_email": ["", "nobody", "@", "a@", "@b", "a b@c", "a@b@c", "a@b\n", "é@b.de", "a..b@c"],
    "database_url": [
        *("", "app.db", "oracle://h/d", "sqlite:/app.db", "POSTGRESQL://h/d", "sqlite://app.db"),
        *("postgresql+psycopg2://h/d", "postgresql+asyncpg://h/d", "mysql+mysqldb://h/d"),
        *("sqlite+aiosqlite:///a.db", "postgresql+://h/d", "mysql+psycopg://h/d"),
        *("postgresql://h", "postgresql://h/", "mysql://u:p@h:3306", "postgresql://h/a/b"),
        *("postgresql://h:0/d", "postgresql://h:65536/d", "postgresql://h:/d", "mysql://h:x/d"),
        *("postgresql://u:p@@h/d", "postgresql://u:a/b@h/d", "postgresql://u:a?b@h/d"),
        *("postgresql://u:100%@h/d", "postgresql://u:%zz@h/d", "postgresql://u:a#b@h/d"),
        *("postgresql://u:a b@h/d", "postgresql://u:$(id)@h/d", "postgresql://u:'@h/d"),
        *("postgresql://h/d?x", "postgresql://h/d?a=$(id)", "postgresql://h/%64", "mysql://h!/d"),
        *("sqlite:///a'.db", 'sqlite:///a".db', "sqlite:///$HOME/a.db", "sqlite:///a\n.db"),
        *("postgresql://u:p@a:5432,b:5432/d", "postgresql://a,b/d", "mysql://a:3306,b:3306/d"),
        *("postgresql://u@/d?host=a:1,b:2", "postgresql://u@/d?host=a:1&host=b&port=1"),
        *("postgresql://u@/d?host=a,b&port=1", "postgresql://u@/d?host=a,b&port=1,x"),
        *(
            "postgresql://u@/d?host=a:0&host=b",
            "postgresql://u@/d?port=1,2",
            "postgresql://h?host=b",
        ),
        *("mysql://u@/d?host=a:1&host=b:2", "mariadb://u@/d?host=a,b&port=1,2"),
        *("sqlite:///%61.db", "sqlite:///a\\b.db", "sqlite:///a.db ", "postgresql://h/d\x00"),
    ],
    "pool_size": [
        "",
        "0",
        "-5",
        "1001",
        "5.0",
        "1_000",
        "１２",
        "٣",
        "+5",
        " 5",
        "5\n",
        "0x5",
        "05",
    ],
    "max_overflow": ["", "-1", "1001", "1e1", "nan", "None", "1_0", "1" * 5000],
    "pool_timeout": ["", "0", "0.0", "-1", "3600.1", "nan", "inf", "1e3", ".5", "5.", "１", "1,5"],
    "pool_recycle": ["", "0", "-2", "-1.0", "86401", "1800.5", "-１", "never"],
}
EACH = [(prompt, value) for prompt, values in WRONG.items() for value in values]


@pytest.mark.parametrize(("prompt", "value"), EACH)
def test_a_wrong_answer_is_refused_by_name(
    bake: Bake, tmp_path: Path, prompt: str, value: str
) -> None:
    """One line names the prompt, the value and what is accepted; nothing is left."""
    with pytest.raises(Refused) as refused:
        bake(**{prompt: value})
    assert refused.value.prompts == [prompt]
    assert " is not accepted; use " in refused.value.lines[0]
    assert list(tmp_path.rglob("*")) in ([], [tmp_path / "baked"])


def test_all_wrong_answers_are_reported_at_once(bake: Bake) -> None:
    """Nobody has to try again for each mistake."""
    with pytest.raises(Refused) as refused:
        bake(**{prompt: values[-1] for prompt, values in WRONG.items()})
    assert refused.value.prompts == list(WRONG)
    assert set(WRONG) == set(PROMPTS) - {"docker", "ci", "license"}


@pytest.mark.parametrize("prompt", ["docker", "ci", "license"])
def test_a_choice_that_is_none_is_refused_by_name(bake: Bake, tmp_path: Path, prompt: str) -> None:
    """cookiecutter itself refuses these, and names the prompt."""
    with pytest.raises(Refused, match=f"choice variable {prompt}"):
        bake(**{prompt: "maybe"})
    assert list(tmp_path.iterdir()) == []


def test_no_keyword_becomes_a_package(hook_checks: Checks) -> None:
    """`import class` would be a syntax error."""
    words = filter(str.islower, [*keyword.kwlist, *keyword.softkwlist])
    assert [word for word in words if not hook_checks["project_slug"](word)] == []


def test_unlimited_overflow_is_refused_with_the_reason(bake: Bake) -> None:
    """SQLAlchemy takes -1 for no limit at all."""
    with pytest.raises(Refused, match="-1, no limit, would let a burst take every connection"):
        bake(max_overflow="-1")


@pytest.mark.parametrize(
    ("url", "right"),
    [
        ("postgresql+psycopg2://u:hunter2@h/d", "postgresql+psycopg://"),
        ("postgres+asyncpg://u:hunter2@h/d", "postgresql+psycopg://"),
        ("mysql+mysqldb://u:hunter2@h/d", "mysql+pymysql://"),
        ("mariadb+mariadbconnector://u:hunter2@h/d", "mariadb+pymysql://"),
        ("postgresql://u:hunter2@h", "names its database: postgresql+psycopg://"),
        ("postgresql://u:hunter2", "a port"),
        ("postgresql://u:hun@ter@hunter2/@h/d", "%40"),
        ("postgresql://h/d?password=hunter2&x", "name=value"),
        ("postgresql://u:a/hunter2@h/d", "/ %2F"),
        ("postgresql://u:a?hunter2@h/d", "%XX"),
        ("u:hunter2@h/d", "postgresql://"),
        # libpq understands several hosts, and SQLAlchemy takes them for one
        (
            "postgresql://u:hunter2@a:5432,b:5432/d",
            "several hosts as postgresql+psycopg://user:password@/DATABASE?host=a:5432&host=b:5432",
        ),
        ("mysql://u:hunter2@a:3306,b:3306/d", "one host (PyMySQL knows no more"),
    ],
)
def test_a_refusal_names_the_right_driver_and_never_a_password(
    bake: Bake, url: str, right: str
) -> None:
    """What cookiecutter shows may end in a log."""
    with pytest.raises(Refused) as refused:
        bake(database_url=url)
    assert refused.value.prompts == ["database_url"]
    assert right in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("query", "hosts"),
    [
        ("host=a:5432&host=b:5433", {"host": "a,b", "port": "5432,5433"}),
        ("host=a&host=b.example.com:5433", {"host": "a,b.example.com", "port": ",5433"}),
        ("host=a,b&port=5432,5433", {"host": "a,b", "port": "5432,5433"}),
        ("host=/run/postgresql&port=5433", {"host": "/run/postgresql", "port": "5433"}),
    ],
)
def test_several_hosts_reach_the_driver(bake: Bake, query: str, hosts: dict[str, str]) -> None:
    """As SQLAlchemy spells them; psycopg gets each host with its port."""
    project = bake(database_url=f"postgresql://u:p%2C@/shop?{query}")
    url = make_url(env(project)["SQLALCHEMY_DATABASE_URI"])
    _, given = url.get_dialect()().create_connect_args(url)
    assert given == {"user": "u", "password": "p,", "dbname": "shop", **hosts}


def test_the_command_line_exits_1_and_leaves_nothing(template: Path, tmp_path: Path) -> None:
    """The same from a shell, with a folder that was there before."""
    (tmp_path / "mine").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "cookiecutter", str(template), "--no-input", "pool_size=-5"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "pool_size: '-5' is not accepted; use a whole number from 1 to 1000" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
