"""Copies of the answers that cookiecutter makes: a hook removes its own and names the other."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
from bake import Refused, bake_into, captured
from cookiecutter.main import cookiecutter  # type: ignore[import-untyped]
from servers import wait_until

PASSWORD = "hunter2secret"
URL = f"postgresql://app:{PASSWORD}@db.example.com/shop"
# as from a shell, even where this process ignores Ctrl-C
COOKIECUTTER = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("cookiecutter", run_name="__main__")
"""


class Shell:
    """Runs cookiecutter as a user does who has a home, and works in a folder beside it."""

    def __init__(self, template: Path, folder: Path) -> None:
        self.template, self.home, self.folder = template, folder / "home", folder / "work"
        self.temporary = folder / "temporary"
        for path in (self.home, self.folder, self.temporary):
            path.mkdir()
        private = {"HOME": self.home, "MINE": self.home / "mine", "TMPDIR": self.temporary}
        self.environment = os.environ | {name: str(path) for name, path in private.items()}
        del self.environment["COOKIECUTTER_CONFIG"]

    def start(self, *arguments: str, url: str = URL) -> subprocess.Popen[str]:
        """Start a bake."""
        command = [sys.executable, "-c", COOKIECUTTER, str(self.template), *arguments]
        answers = [] if "--replay-file" in arguments else ["--no-input", f"database_url={url}"]
        return subprocess.Popen(
            [*command, *answers],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def said(self, *arguments: str, url: str = URL) -> list[str]:
        """Bake, and return the lines about a copy of the answers."""
        output, errors = self.start(*arguments, url=url).communicate(timeout=60)
        return [line for line in (output + errors).splitlines() if "keeps your answers" in line]

    def copies(self) -> list[Path]:
        """Return every copy of the answers outside of the template."""
        files = self.home.parent.rglob("*.json")
        return sorted(file for file in files if file.is_file() and PASSWORD in file.read_text())


@pytest.fixture
def shell(template: Path, tmp_path: Path) -> Shell:
    """Return a shell of a user who has not used cookiecutter before."""
    return Shell(template, tmp_path)


@pytest.mark.parametrize(
    ("settings", "options", "kept_in"),
    [
        ({}, [], "home/.cookiecutter_replay"),
        ({"home/.cookiecutterrc": "replay_dir: ~/kept"}, [], "home/kept"),
        ({"home/.cookiecutterrc": "replay_dir: '$MINE/kept'  # here"}, [], "home/mine/kept"),
        ({"home/.cookiecutterrc": "{default_context: {}, replay_dir: kept}"}, [], "work/kept"),
        (
            {"home/.cookiecutterrc": "replay_dir: ~/no", "work/own.yaml": "replay_dir: ~/kept"},
            ["--config-file", "own.yaml"],
            "home/kept",
        ),
        (
            {"home/.cookiecutterrc": "replay_dir: ~/no"},
            ["--default-config"],
            "home/.cookiecutter_replay",
        ),
    ],
)
@pytest.mark.parametrize("refused", [False, pytest.param(True, marks=pytest.mark.repeat)])
def test_the_copy_that_cookiecutter_keeps_is_named(
    shell: Shell, settings: dict[str, str], options: list[str], kept_in: str, refused: bool
) -> None:
    """Wherever the user's settings put it, and after a refusal too."""
    for name, text in settings.items():
        (shell.home.parent / name).write_text(text)
    said = shell.said(*options, *(["pool_size=none"] if refused else []))
    copy = shell.home.parent / kept_in / "flask-pool.json"
    assert shell.copies() == [copy]
    assert said == [f"cookiecutter keeps your answers, with any password in them, in {copy}."]
    assert (shell.folder / "flask_pool_service").exists() is not refused


def test_the_variable_with_the_settings_counts_too(shell: Shell) -> None:
    """Before the file at home, as for cookiecutter; a path in it begins where the user is."""
    (shell.home / ".cookiecutterrc").write_text("replay_dir: ~/no")
    (shell.folder / "own.yaml").write_text("replay_dir: ~/kept")
    shell.environment["COOKIECUTTER_CONFIG"] = "own.yaml"
    assert str(shell.home / "kept" / "flask-pool.json") in shell.said()[0]


def test_a_replayed_bake_names_its_own_copy(shell: Shell) -> None:
    """cookiecutter names it like the file that it replays."""
    shell.said()
    (copy,) = shell.copies()
    copy.rename(shell.folder / "mine.json")
    said = shell.said("--replay-file", "mine.json", "--output-dir", "other")
    assert str(copy.with_name("mine.json")) in said[0]
    assert shell.copies() == [copy.with_name("mine.json"), shell.folder / "mine.json"]


@pytest.mark.parametrize("url", ["sqlite:///app.db", "postgresql://app@db.example.com/shop"])
def test_without_a_password_there_is_no_word_about_the_copy(shell: Shell, url: str) -> None:
    """Neither after a bake nor after a refusal of something else."""
    assert shell.said(url=url) == []
    assert shell.said("pool_size=none", url="sqlite:///app.db") == []


@pytest.mark.parametrize("url", [f"postgresql://app:{PASSWORD}", f"app:{PASSWORD}@h/d", f"x{URL}"])
def test_a_password_in_a_url_that_is_none_counts_too(shell: Shell, url: str) -> None:
    """It was typed, and so it was kept."""
    assert str(shell.home) in shell.said(url=url)[0]


def test_a_copy_that_can_t_be_found_is_not_made_up(template: Path, tmp_path: Path) -> None:
    """Who calls cookiecutter from Python may give it settings that no hook can know."""
    (tmp_path / "own.yaml").write_text(f"replay_dir: {tmp_path}/kept")
    with captured() as output:
        cookiecutter(
            str(template),
            no_input=True,
            extra_context={"database_url": URL},
            output_dir=str(tmp_path),
            config_file=str(tmp_path / "own.yaml"),
        )
        assert "with any password in them, in the replay_dir of its settings.\n" in output()


@pytest.mark.parametrize("size", ["5", "none"])
def test_no_copy_of_a_hook_stays_among_the_temporary_files(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: str
) -> None:
    """It goes before a hook imports anything; cookiecutter would leave it, password included."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "json.py").write_text(
        "import os, sys\n"
        f"print('found', os.listdir({str(tmp_path / 'temporary')!r}), flush=True)\n"
        "sys.path.remove(os.path.dirname(__file__))\n"
        "del sys.modules['json']\n"
        "import json\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(Refused) if size == "none" else nullcontext() as refused:
        project = bake_into(tmp_path / "baked", template, database_url=URL, pool_size=size)
    output = str(refused.value) if refused else project.output
    assert output.count("found []\n") == output.count("found") == (1 if refused else 2)
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize("hook", ["Check every answer", "Finish the project"])
def test_ctrl_c_before_a_hook_has_begun_leaves_no_copy(
    shell: Shell, tmp_path: Path, hook: str
) -> None:
    """Then cookiecutter's process removes it: Python has not come to the hook's first line."""
    (tmp_path / "sitecustomize.py").write_text(
        "import pathlib, sys, time\n"
        "script = pathlib.Path(sys.orig_argv[-1])\n"
        f"if script.suffix == '.py' and {hook!r} in script.read_text():\n"
        "    pathlib.Path(__file__).with_name('began').touch()\n"
        "    time.sleep(60)\n"
    )
    shell.environment["PYTHONPATH"] = str(tmp_path)
    with shell.start() as process:
        wait_until((tmp_path / "began").exists, 30)
        (copy,) = shell.temporary.glob("*.py")
        assert PASSWORD in copy.read_text()
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 1
    assert list(shell.temporary.iterdir()) == []


def test_what_cookiecutter_keeps_is_what_was_answered(shell: Shell) -> None:
    """A replay gives the same project: no filter leaves a trace in the answers."""
    shell.said()
    (copy,) = shell.copies()
    answers = json.loads(copy.read_text())["cookiecutter"]
    assert [key for key, value in answers.items() if PASSWORD in str(value)] == ["database_url"]
