"""Any set of answers gives either a project that parses or a refusal that leaves nothing."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from bake import PROMPTS, BakedProject, Refused, bake_into
from conftest import Checks
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from parses import assert_parses, env, toml
from sqlalchemy.engine import make_url

SCHEMES = ["postgres", "postgresql", "postgresql+psycopg", "mysql", "mysql+pymysql", "mariadb"]
text = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=80).filter(
    lambda value: not any(code in value for code in ("{{", "{%%", "{##"))
)
line = text.filter(str.strip)
anything = st.text() | st.sampled_from(["{{", "{%", "{{ x }}", "{{ 1 / 0 }}", "../x", "-1", "\x00"])


@st.composite
def server_url(draw: st.DrawFn) -> str:
    """Draw a URL of a server whose password can be any text."""
    password = draw(st.text(st.characters(codec="utf-8"), max_size=20))
    secret = "".join(f"%{byte:02X}" for byte in password.encode())
    scheme = draw(st.sampled_from(SCHEMES))
    host = draw(st.sampled_from(["localhost", "db.example.com", "127.0.0.1", "[::1]", "db_1"]))
    port = draw(st.none() | st.integers(1, 65535))
    query = draw(st.sampled_from(["", "?sslmode=require", "?a=%20b&password=hunter2"]))
    address = host if port is None else f"{host}:{port}"
    if draw(st.booleans()) and scheme.startswith("postgres"):
        hosts = draw(st.lists(st.sampled_from(["a", "b.example.com:5433"]), min_size=2, max_size=3))
        address, query = "", f"{query or '?'}&host={'&host='.join(hosts)}".replace("?&", "?")
    return f"{scheme}://app:{secret}@{address}/shop{query}"


ACCEPTED = {
    "project_name": line,
    "project_slug": st.from_regex("shop_[a-z0-9_]{0,20}", fullmatch=True),
    "description": text,
    "author_name": line,
    "author_email": st.from_regex("[a-z0-9+]{1,9}@[a-z]{1,9}([.]de)?", fullmatch=True),
    "database_url": server_url() | st.sampled_from(["sqlite://", "sqlite:////data/app ü.db"]),
    "pool_size": st.integers(1, 1000).map(str),
    "max_overflow": st.integers(0, 1000).map(str),
    "pool_timeout": st.integers(1, 360000).map(lambda hundredths: f"{hundredths / 100:.2f}"),
    "pool_recycle": st.integers(1, 86400).map(str) | st.just("-1"),
    "docker": st.sampled_from(["yes", "no"]),
    "ci": st.sampled_from(["github", "gitlab", "none"]),
    "license": st.sampled_from(["MIT", "Apache-2.0", "BSD-3-Clause", "Proprietary"]),
}
pytestmark = pytest.mark.examples

MANY = int(os.environ.get("FLASK_POOL_EXAMPLES", "10"))
BAKES = settings(
    max_examples=MANY,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking would bake for minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@given(answers=st.fixed_dictionaries(ACCEPTED))
@BAKES
def test_every_accepted_set_of_answers_gives_files_that_parse(
    template: Path, tmp_path: Path, answers: dict[str, str]
) -> None:
    """What is within the limits of each prompt is never refused, and comes back as it was."""
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
        project = bake_into(Path(folder), template, **answers)
        assert_parses(project)
        about = toml(project)["project"]
        assert about["description"] == answers["description"]
        assert about["authors"] == [
            {"name": answers["author_name"], "email": answers["author_email"]}
        ]
        wanted, written = make_url(answers["database_url"]), env(project)["SQLALCHEMY_DATABASE_URI"]
        assert make_url(written).set(drivername="") == wanted.set(drivername="")
        assert_masked(project, written)
        assert set(env(project, ".env.example")) >= {"SQLALCHEMY_DATABASE_URI", "SECRET_KEY"}


def assert_masked(project: BakedProject, url: str) -> None:
    """Fail if what gets committed does not name the database of this URL, masked."""
    defaults = toml(project, f"src/{project.slug}/defaults.toml")
    masked = make_url(defaults["SQLALCHEMY_DATABASE_URI"])
    full = make_url(url)
    assert masked == full.set(password="***", query=masked.query) or full.password is None
    assert list(masked.query) == list(full.query)
    assert "hunter2" not in str(defaults)


@pytest.mark.parametrize("prompt", PROMPTS)
@given(value=anything)
@settings(BAKES, max_examples=max(3, MANY // 5))
def test_any_answer_to_any_prompt_is_taken_whole_or_leaves_nothing(
    template: Path, tmp_path: Path, prompt: str, value: str
) -> None:
    """There is nothing between a project that parses and an empty folder."""
    folder = tmp_path / "baked"
    try:
        assert_parses(bake_into(folder, template, **{prompt: value}))
    except Refused:
        assert not folder.exists() or list(folder.iterdir()) == []
    shutil.rmtree(folder, ignore_errors=True)


hosts_or_ports = st.text("ab./:,015", max_size=8).flatmap(
    lambda text: st.sampled_from([f"host={text}", f"port={text}"])
)
many_hosts = st.lists(hosts_or_ports, max_size=3).map(lambda q: f"postgresql://u@/d?{'&'.join(q)}")


@given(value=server_url() | many_hosts | anything | anything.map("postgresql://h/{}".format))
@settings(max_examples=50 * MANY)
def test_sqlalchemy_understands_every_url_that_is_accepted(hook_checks: Checks, value: str) -> None:
    """What the hook lets pass, the service can connect with."""
    if not hook_checks["database_url"](value):
        url = make_url(value)
        assert url.database
        assert url.render_as_string(hide_password=False)
        if url.get_backend_name() == "postgresql":
            _, given = make_url("postgresql+psycopg://").get_dialect()().create_connect_args(url)
            hosts = str(given.get("host", "")).split(",")
            assert str(given.get("port", "")).count(",") in (0, len(hosts) - 1)
            assert len(hosts) == 1 or not any(":" in host for host in hosts)
