"""Check every answer before a file is written; report all wrong ones at once."""

from __future__ import annotations

import json
import keyword
import os
import re
import sys
from collections.abc import Callable, Iterator
from functools import partial

# Answers arrive as data: Jinja writes ' as \u0027 in JSON, so none can end this literal.
ANSWERS: dict[str, object] = json.loads(r'''{{ cookiecutter | tojson }}''')  # fmt: skip

# What a generated project imports, installs or has as a folder of its own.
TAKEN = tuple(
    """
    alembic ast_serialize attr attrs backports blinker build cachetools certifi cffi cfgv
    charset_normalizer click colorama contourpy coverage cryptography cycler dateutil dist
    distlib docs dotenv editables execnet filelock flask flask_migrate flask_sqlalchemy
    fonttools greenlet gunicorn hatchling hypothesis identify idna iniconfig instance
    itsdangerous jinja2 kiwisolver librt licenses mako markdown_it markdown_it_py markupsafe
    matplotlib mdurl migrations mpl_toolkits mypy mypy_extensions mypyc nodeenv numpy ops
    packaging pathspec pil pillow pip pkg_resources platformdirs pluggy pool pre_commit
    prometheus_client psycopg psycopg2 psycopg_binary psycopg_pool py pycparser pygments pylab
    pymysql pyparsing pyproject_api pytest pytest_cov pytest_timeout pytest_xdist
    python_dateutil python_discovery python_dotenv pyyaml rich ruff setuptools six
    sortedcontainers sqlalchemy src static templates test tests tomli tomli_w tomlkit tox tox_uv
    trove_classifiers types_pymysql typing_extensions tzdata uv venv virtualenv werkzeug wheel
    xdist yaml
    """.split()
)
# Standard on some of the supported Pythons only, or a soft keyword on the newest.
SOMETIMES_STANDARD = tuple(
    """
    aifc annotationlib asynchat asyncore audioop cgi cgitb chunk compression crypt distutils
    imghdr imp lib2to3 mailcap msilib nis nntplib ossaudiodev pipes smtpd sndhdr spwd sunau
    telnetlib type uu xdrlib
    """.split()
)
WINDOWS_DEVICE = re.compile("con|nul|aux|prn|(com|lpt)[0-9]")
# cookiecutter runs these as template code when an answer is read again (cruft update)
TEMPLATE_CODE = tuple("{" + rest for rest in ("{", "%%", "##"))
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
ATOM = r"[\w!#$%&'*+/=?^`{|}~-]+"
EMAIL = re.compile(rf"{ATOM}(\.{ATOM})*@[\w-]+(\.[\w-]+)*", re.ASCII)

DRIVERS = {
    "sqlite": ("sqlite", "pysqlite"),
    "postgres": ("postgresql+psycopg", "psycopg"),
    "postgresql": ("postgresql+psycopg", "psycopg"),
    "mysql": ("mysql+pymysql", "pymysql"),
    "mariadb": ("mariadb+pymysql", "pymysql"),
}
URL_TEXT = re.compile(r"([\w.~:/?!&()*+,;=-]|%[0-9A-Fa-f]{2})*", re.ASCII)
QUERY = re.compile(r"([\w.-]+=[^&]*(&[\w.-]+=[^&]*)*)?", re.ASCII)
SQLITE_PATH = re.compile(r"(/[^\"'`\\#$%<>|{}]*(?<!\s))?")

WHOLE = "(0|[1-9][0-9]{0,6})"
DECIMAL = WHOLE + r"(\.[0-9]{1,9})?"


def text(low: int, high: int, value: str) -> str:
    """Return what is accepted if this is no printable text of that length, else nothing."""
    if any(code in value for code in TEMPLATE_CODE):
        return f"text without {' '.join(TEMPLATE_CODE)}, which cookiecutter would run"
    if len(value.strip()) < low or len(value) > high or CONTROL.search(value):
        return f"text of {low} to {high} characters, without line breaks and control characters"
    return ""


def slug(value: str) -> str:
    """Return what is accepted if this can't be a folder and a package, else nothing."""
    if not re.fullmatch("[a-z][a-z0-9_]{0,79}", value):
        return "a letter, then letters, digits and _ (a-z, 0-9), at most 80"
    if keyword.iskeyword(value) or keyword.issoftkeyword(value):
        return "a name that is not a Python keyword"
    if value in sys.stdlib_module_names or value in SOMETIMES_STANDARD:
        return "a name that Python's standard library does not have"
    if value in TAKEN or WINDOWS_DEVICE.fullmatch(value):
        return "a name that no dependency, folder of the project or device has"
    return ""


def email(value: str) -> str:
    """Return what is accepted if this is no e-mail address, else nothing."""
    return text(1, 254, value) or (
        "" if EMAIL.fullmatch(value) else "something@something, in ASCII"
    )


def number(pattern: str, low: float, high: float, accepted: str, value: str) -> str:
    """Return what is accepted if this is no plain number within the limits, else nothing."""
    return "" if re.fullmatch(pattern, value) and low <= float(value) <= high else accepted


def choice(choices: tuple[str, ...], value: str) -> str:
    """Return the choices if this is none of them, else nothing."""
    return "" if value in choices else " or ".join(choices)


def database_url(value: str) -> str:
    """Return what is accepted if the service can't use this URL, else nothing."""
    scheme, separator, rest = value.partition("://")
    family, _, driver = scheme.partition("+")
    if not separator or family not in DRIVERS:
        return "a URL that begins with sqlite://, postgresql://, mysql:// or mariadb://"
    right, accepted = DRIVERS[family]
    if scheme not in (family, f"{family}+{accepted}"):
        return f"{right}://..., the driver of this template, instead of {driver or 'none'}"
    place, _, query = rest.partition("?")
    if not QUERY.fullmatch(query) or not URL_TEXT.fullmatch(query):
        return "a query of name=value pairs joined by &, with other characters as %XX"
    if family == "sqlite":
        usable = SQLITE_PATH.fullmatch(place) and not CONTROL.search(place)
        return (
            "" if usable else "sqlite:///relative.db or sqlite:////absolute.db, no quotes, $ or %"
        )
    return server_url(right, *place.partition("/")[::2])


def server_url(right: str, authority: str, database: str) -> str:
    """Return what is accepted if login, host, port or database is wrong, else nothing."""
    login, _, address = authority.rpartition("@")
    host, colon, port = address.rpartition(":")
    if not colon or port.endswith("]"):
        host, colon, port = address, "", ""
    if "@" in login + database or not URL_TEXT.fullmatch(login):
        return "user and password with other characters as %XX (@ %40, / %2F, ? %3F, # %23, % %25)"
    if colon and not (re.fullmatch("[1-9][0-9]{0,4}", port) and int(port) <= 65535):
        return "a port from 1 to 65535"
    if not re.fullmatch(r"[A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\]", host):
        return "a host name or address; an IPv6 address in [brackets]"
    if not re.fullmatch(r"[\w.~-]+", database, re.ASCII):
        return f"a URL that names its database: {right}://user:password@host/DATABASE"
    return ""


def shown(prompt: str, value: object) -> str:
    """Return the value as one line, without what could be a password."""
    line = str(value)
    if prompt == "database_url":
        scheme, separator, rest = line.partition("://")
        place = rest.rpartition("@")[2].partition("?")[0]
        # a password whose @host was forgotten stands where a port would
        place = re.sub(r"^([^/:]*):(?![0-9]{1,5}(/|$))[^/]*", r"\1:***", place)
        line = f"{scheme}://{'***@' if '@' in rest else ''}{place}{'?***' if '?' in rest else ''}"
        if not separator:
            line = "***" if re.search("[:@]", scheme) else scheme
    return repr(line if len(line) <= 100 else line[:100] + "...")


CHECKS: dict[str, Callable[[str], str]] = {
    "project_name": partial(text, 1, 80),
    "project_slug": slug,
    "description": partial(text, 0, 200),
    "author_name": partial(text, 1, 200),
    "author_email": email,
    "database_url": database_url,
    "pool_size": partial(number, WHOLE, 1, 1000, "a whole number from 1 to 1000"),
    "max_overflow": partial(
        number,
        WHOLE,
        0,
        1000,
        "a whole number from 0 to 1000 (-1, no limit, would let a burst take every connection "
        "that the database has)",
    ),
    "pool_timeout": partial(number, DECIMAL, 1e-9, 3600, "seconds above 0, up to 3600"),
    "pool_recycle": partial(number, "-1|[1-9][0-9]{0,6}", -1, 86400, "-1 or 1 to 86400 seconds"),
    "docker": partial(choice, ("yes", "no")),
    "ci": partial(choice, ("github", "gitlab", "none")),
    "license": partial(choice, ("MIT", "Apache-2.0", "BSD-3-Clause", "Proprietary")),
}


def refusals() -> Iterator[str]:
    """Yield one line for each wrong answer: prompt, value, what is accepted."""
    for prompt, check in CHECKS.items():
        # the slug that was typed: cookiecutter.json replaces one that is no folder name
        value = ANSWERS["__slug_as_given" if prompt == "project_slug" else prompt]
        if accepted := check(value) if isinstance(value, str) else "text":
            yield f"{prompt}: {shown(prompt, value)} is not accepted; use {accepted}"


if __name__ == "__main__":
    # cookiecutter leaves this copy of the hook, answers in it, among the temporary files
    os.unlink(__file__)  # noqa: PTH108  (pathlib takes time to import)
    if lines := list(refusals()):
        print("\n".join(lines), file=sys.stderr)
        sys.exit(1)
