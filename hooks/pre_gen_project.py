"""Check every answer before a file is written; report all wrong ones at once."""

from __future__ import annotations

import os

if __name__ == "__main__":
    # cookiecutter leaves this copy, answers in it, among the temporary files ({{ copy_mark() }})
    os.unlink(__file__)  # noqa: PTH108  (nothing else is imported before)

import json
import keyword
import re
import sys
from collections.abc import Callable, Iterator
from functools import partial

# Both arrive as data: Jinja writes ' as \u0027 in JSON, so no answer can end these literals.
ANSWERS: dict[str, object] = json.loads(r'''{{ cookiecutter | tojson }}''')  # fmt: skip
KEPT_COPY = r'''{{ cookiecutter | kept_copy | tojson }}'''  # fmt: skip

# What a generated project installs or has as a folder, and what only some Pythons have.
TAKEN = """
aifc alembic annotationlib ast_serialize asynchat asyncore attr attrs audioop backports blinker
build cachetools certifi cffi cfgv cgi cgitb charset_normalizer chunk click colorama compression
contourpy coverage crypt cryptography cycler dateutil dist distlib distutils docs dotenv editables
execnet filelock flask flask_migrate flask_pool flask_sqlalchemy fonttools greenlet gunicorn
hatchling hypothesis identify idna imghdr imp iniconfig instance itsdangerous jinja2 kiwisolver lazy
lib2to3 librt licenses locks mailcap mako markdown_it markdown_it_py markupsafe matplotlib mdurl
migrations mpl_toolkits msilib mypy mypy_extensions mypyc nis nntplib nodeenv numpy ops ossaudiodev
packaging pathspec pil pillow pip pipes pkg_resources platformdirs pluggy pre_commit profiling
prometheus_client psycopg psycopg2 psycopg_binary psycopg_pool py pycparser pygments pylab pymysql
pyparsing pyproject_api pytest pytest_cov pytest_timeout pytest_xdist python_dateutil
python_discovery python_dotenv pyyaml rich ruff setuptools six smtpd sndhdr sortedcontainers spwd
sqlalchemy src static sunau telnetlib templates test tests tomli tomli_w tomlkit tomllib tox tox_uv
trove_classifiers type types_pymysql typing_extensions tzdata uu uv vendor venv virtualenv werkzeug
wheel xdist xdrlib yaml
""".split()
WINDOWS_DEVICE = re.compile("con|nul|aux|prn|(com|lpt)[0-9]")
# cookiecutter runs these as template code when an answer is read again (cruft update)
TEMPLATE_CODE = tuple("{" + rest for rest in ("{", "%%", "##"))
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
ATOM = r"[\w!#$%&'*+/=?^`{|}~-]+"
EMAIL = re.compile(rf"{ATOM}(\.{ATOM})*@[\w-]+(\.[\w-]+)*", re.ASCII)

DRIVERS = {
    "sqlite": "sqlite+pysqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}
URL_TEXT = re.compile(r"([\w.~:/?!&()*+,;=-]|%[0-9A-Fa-f]{2})*", re.ASCII)
QUERY = re.compile(r"([\w.-]+=[^&]*(&[\w.-]+=[^&]*)*)?", re.ASCII)
SQLITE_PATH = re.compile(r"(/[^\"'`\\#$%<>|{}]*(?<!\s))?")
ADDRESS = re.compile(r"([A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])(:(?P<port>[1-9][0-9]{0,4}))?")
WHOLE = "(0|[1-9][0-9]{0,6})"
DECIMAL = WHOLE + r"(\.[0-9]{1,9})?"
OVERFLOW = "0 to 1000 (-1, no limit, would let a burst take every connection of the database)"


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
    if value in TAKEN or value in sys.stdlib_module_names or WINDOWS_DEVICE.fullmatch(value):
        return "a name that no module of Python, dependency, folder of the project or device has"
    return ""


def email(value: str) -> str:
    """Return what is accepted if this is no e-mail address, else nothing."""
    return text(1, 254, value) or ("" if EMAIL.fullmatch(value) else "something@something in ASCII")


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
    right = DRIVERS[family]
    if scheme not in (family, f"{family}+{right.partition('+')[2]}"):
        return f"{right}://..., the driver of this template, instead of {driver or 'none'}"
    place, _, query = rest.partition("?")
    if not QUERY.fullmatch(query) or not URL_TEXT.fullmatch(query):
        return "a query of name=value pairs joined by &, with other characters as %XX"
    if family != "sqlite":
        return server_url(right, *place.partition("/")[::2], query)
    usable = SQLITE_PATH.fullmatch(place) and not CONTROL.search(place)
    return "" if usable else "sqlite:///relative.db or sqlite:////absolute.db, no quotes, $, %"


def server_url(right: str, authority: str, database: str, query: str) -> str:
    """Return what is accepted if login, hosts or database are wrong, else nothing."""
    login, _, address = authority.rpartition("@")
    if "@" in login + database or not URL_TEXT.fullmatch(login):
        return "user and password with other characters as %XX (@ %40, / %2F, ? %3F, # %23, % %25)"
    if "," in address or not hosts_are_usable(right, query):
        if right.startswith("postgresql"):
            return f"several hosts as {right}://user:password@/DATABASE?host=a:5432&host=b:5432"
        return "one host (PyMySQL knows no more; a proxy can stand before several)"
    if not is_address(address):
        return "a host name or address (IPv6 in [brackets]), and a port from 1 to 65535"
    if not re.fullmatch(r"[\w.~-]+", database, re.ASCII):
        return f"a URL that names its database: {right}://user:password@host/DATABASE"
    return ""


def hosts_are_usable(right: str, query: str) -> bool:
    """Tell whether the hosts and ports in a query are spelled as SQLAlchemy expects them."""
    hosts, ports = (re.findall(f"(?:^|&){name}=([^&]*)", query) for name in ("host", "port"))
    names, numbers = ",".join(hosts).split(","), ",".join(ports).split(",")
    if len(names) > 1 and not right.startswith("postgresql"):
        return False
    if len(hosts) > 1:
        return not ports and all(map(is_address, hosts))
    if len(names) > 1 and ":" in hosts[0]:
        return False
    return not ports or (len(numbers) == len(names) and all(is_address(f":{n}") for n in numbers))


def is_address(value: str) -> bool:
    """Tell whether this is a host, a port or both."""
    found = ADDRESS.fullmatch(value)
    return found is not None and int(found["port"] or 1) <= 65535


def shown(prompt: str, line: str) -> str:
    """Return the value as one line, without what could be a password."""
    if prompt == "database_url":
        scheme, separator, rest = line.partition("://")
        _, at, place = rest.rpartition("@")
        place, mark, _ = place.partition("?")
        if not at:  # a password whose @host was forgotten stands where a port would
            place = re.sub(r"^([^/:]*):(?![0-9]{1,5}(/|$))[^/]*", r"\1:***", place)
        line = f"{scheme}://{at and '***@'}{place}{mark and '?***'}"
        line = line if separator else re.sub("(?s).*[:@].*", "***", scheme)
    return repr(line if len(line) <= 100 else line[:100] + "...")


CHECKS: dict[str, Callable[[str], str]] = {
    "project_name": partial(text, 1, 80),
    "project_slug": slug,
    "description": partial(text, 0, 200),
    "author_name": partial(text, 1, 200),
    "author_email": email,
    "database_url": database_url,
    "pool_size": partial(number, WHOLE, 1, 1000, "a whole number from 1 to 1000"),
    "max_overflow": partial(number, WHOLE, 0, 1000, OVERFLOW),
    "pool_timeout": partial(number, DECIMAL, 1e-9, 3600, "seconds above 0, up to 3600"),
    "pool_recycle": partial(number, "-1|[1-9][0-9]{0,6}", -1, 86400, "-1 or 1 to 86400 seconds"),
    "docker": partial(choice, ("yes", "no")),
    "ci": partial(choice, ("github", "gitlab", "none")),
    "license": partial(choice, ("MIT", "Apache-2.0", "BSD-3-Clause", "Proprietary")),
}


def refusals() -> Iterator[str]:
    """Yield one line for each wrong answer: prompt, value, what is accepted."""
    if sys.version_info < (3, 10):  # noqa: UP036
        yield "flask-pool needs a cookiecutter that runs on Python 3.10 or newer."
        return
    for prompt, check in CHECKS.items():
        # the slug that was typed: cookiecutter.json replaces one that is no folder name
        value = ANSWERS["__slug_as_given" if prompt == "project_slug" else prompt]
        accepted = check(value) if isinstance(value, str) else "text"
        if accepted:
            yield f"{prompt}: {shown(prompt, str(value))} is not accepted; use {accepted}"


if __name__ == "__main__":
    wrong = list(refusals())
    notes = json.loads(KEPT_COPY) if "***" in f"{ANSWERS['__database_url']} {wrong}" else []
    for line in [*wrong, *notes]:
        print(line, file=sys.stderr)  # which knows any character, on consoles of any encoding
    sys.exit(1 if wrong else 0)
