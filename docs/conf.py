"""How Sphinx builds these pages: `sphinx-build -W -b html docs docs/_build/html`."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "src"))

from flask_pool import __version__  # noqa: E402
from flask_pool.settings import SETTINGS, Check, Refused  # noqa: E402

project = "Flask-Pool"
author = "The Flask-Pool authors"
copyright = author  # noqa: A001 - Sphinx's name
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
default_role = "code"  # single backticks in docstrings
html_theme = "furo"
html_title = f"{project} {release}"
html_show_sourcelink = False

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"


def accepted(check: Check) -> str:
    """Return what a check says that it accepts."""
    try:
        check("\0")
    except Refused as refused:
        return str(refused.args[0])
    return "anything"


def shown(default: object) -> str:
    """Return a default as it is written in the environment."""
    if default is None:
        return "not set"
    text = str(default).lower() if isinstance(default, bool) else str(default)
    return f"`{text.removesuffix('.0')}`" if text else "empty"


def settings_table() -> str:
    """Return the table of settings, from the one table in the code."""
    lines = ["| setting | default | what it does |", "| --- | --- | --- |"]
    for name, setting in SETTINGS.items():
        text = f"{setting.doc} Accepted: {accepted(setting.check)}"
        lines.append(f"| `{name}` | {shown(setting.default)} | {text} |")
    return "\n".join([*lines, ""])


def with_settings(page: str) -> str:
    """Return the page of settings with the table as it is now."""
    before, begin, rest = page.partition("<!-- settings: begin -->\n")
    _, end, after = rest.partition("<!-- settings: end -->\n")
    return before + begin + settings_table() + end + after


# committed too, so that it can be read in the repository
PAGE = HERE / "settings.md"
PAGE.write_text(with_settings(PAGE.read_text("utf-8")), "utf-8")
