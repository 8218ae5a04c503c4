"""Read every file of a project with the parser of its format."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

import yaml
from bake import BakedProject
from dotenv import dotenv_values

LEFTOVER = re.compile(r"(?<!\$)\{\{|\{%|\{#|\bcookiecutter\.\w")
OURS = re.compile("cookiecutter")
OTHER_TEMPLATES = ("ops/alerts.yml", "ops/dashboard.json")  # Prometheus' and Grafana's, in braces


def assert_parses(project: BakedProject) -> None:
    """Fail if a file can't be read, or does not end with one line end."""
    for name in sorted(texts(project)):
        text = project.text(name)
        try:
            parse(name, text)
        except (ValueError, SyntaxError, yaml.YAMLError) as error:
            raise AssertionError(f"{name} does not parse: {error}\n{text}") from error
        assert "\r" not in text, name
        assert not text or text.endswith("\n"), name


def texts(project: BakedProject) -> list[str]:
    """Return the names of all files but pictures and wheels."""
    return [name for name in project.files() if not name.endswith((".png", ".svg", ".whl"))]


def parse(name: str, text: str) -> Any:
    """Read one file by the ending of its name; other files are plain text."""
    if name.endswith(".toml"):
        return tomllib.loads(text)
    if name.endswith(".json"):
        return json.loads(text)
    if name.endswith((".yaml", ".yml")):
        documents = list(yaml.safe_load_all(text))
        return documents if len(documents) > 1 else documents[0]
    if name.endswith(".py"):
        return compile(text, name, "exec", dont_inherit=True)
    return text


def toml(project: BakedProject, name: str = "pyproject.toml") -> dict[str, Any]:
    """Return a TOML file of the project."""
    return tomllib.loads(project.text(name))


def env(project: BakedProject, name: str = ".env") -> dict[str, str]:
    """Return a .env file as python-dotenv, and so Flask, reads it."""
    return {key: value or "" for key, value in dotenv_values(project.path / name).items()}


def leftovers(project: BakedProject) -> dict[str, str]:
    """Return the first piece of template code in each file that has one."""
    # the service's own pages are Jinja templates
    names = [name for name in texts(project) if "/templates/" not in name]
    patterns = {name: OURS if name in OTHER_TEMPLATES else LEFTOVER for name in names}
    found = {name: pattern.search(project.text(name)) for name, pattern in patterns.items()}
    return {name: match.group() for name, match in found.items() if match}
