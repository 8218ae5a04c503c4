"""What a `gunicorn.conf.py` is made of: settings, hooks and the worker class.

The master loads neither Flask nor SQLAlchemy nor the service, and keeps nothing of `.env`. So
SIGHUP, which reads the configuration again, serves new code with new settings.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from . import settings
from .ops import shared
from .worker import Worker, lacking

__all__ = [
    "Worker", "application", "child_exit", "lacking", "load", "on_starting", "post_fork",
    "post_worker_init",
]  # fmt: skip

SHARED_MEMORY = "/dev/shm"  # noqa: S108
TRUE = ("1", "true", "yes", "on")

logger = logging.getLogger("gunicorn.error")

_values: dict[str, Any] = {}  # the last that were accepted
_dotenv: Mapping[str, str | None] = {}  # and the `.env` that they are of


class Settings(dict[str, Any]):
    """The settings of a service, and what gunicorn makes of them."""

    @property
    def bind(self) -> str:
        """The address, as gunicorn spells it."""
        host = self["HOST"]
        return f"[{host}]:{self['PORT']}" if ":" in host else f"{host}:{self['PORT']}"

    @property
    def graceful_timeout(self) -> int:
        """Seconds to end in: requests in flight may use their whole statement timeout."""
        return int(self["SQLALCHEMY_STATEMENT_TIMEOUT"]) + 5

    @property
    def worker_tmp_dir(self) -> str | None:
        """A folder in memory for heartbeats: a busy disk can stall a worker."""
        return SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None


def load() -> Settings:
    """Return the settings: the environment, then `.env`, then the package's `defaults.toml`.

    A wrong value stops the start with one line. While gunicorn runs, as after SIGHUP, the line is
    logged and the settings stay as they were.
    """
    global _values, _dotenv
    found = settings.dotenv()
    try:
        values = _read(_folder(found), found)
    except (settings.SettingError, tomllib.TOMLDecodeError) as error:
        if not _values:
            sys.exit(str(error))
        sys.stderr.write(f"not reloaded, the settings stay as they were: {error}\n")
    else:
        _values, _dotenv = values, found
    on_starting()  # with --preload the application is made before gunicorn calls it
    return Settings(_values)


def _folder(dotenv: Mapping[str, str | None]) -> Path:
    """Return the folder of the package that FLASK_APP names, which is not imported."""
    app = os.environ.get("FLASK_APP") or dotenv.get("FLASK_APP") or ""
    package = app.partition(":")[0]
    spec = find_spec(package) if package.isidentifier() else None
    if spec is None:
        sys.exit(f"FLASK_APP: {app!r} is not accepted; use the name of an installed package")
    places = spec.submodule_search_locations
    return Path(places[0]) if places else Path.cwd()


def _read(folder: Path, dotenv: Mapping[str, str | None]) -> dict[str, Any]:
    environ = dict(os.environ)
    settings.add_dotenv(environ, dotenv)
    file = folder / "defaults.toml"
    defaults = tomllib.loads(file.read_text("utf-8")) if file.is_file() else {}
    every = settings.CHECKS | settings.SERVICE_CHECKS
    raw = settings.read(defaults, environ, checks=every | dict.fromkeys(settings.URLS, _anything))
    variables = {name: settings.variable_of(name, environ) for name in settings.URLS}
    urls = {name: raw[name] for name in settings.URLS if raw.get(name) is not None}
    _check_urls(urls, variables)
    if environ.get("FLASK_DEBUG", "").lower() not in TRUE:
        settings.require_secret(raw.get("SECRET_KEY"))
    return settings.with_defaults(raw)


def _anything(value: Any) -> Any:
    return value


def _check_urls(values: dict[str, Any], variables: dict[str, str]) -> None:
    """Check URLs in another process, as SQLAlchemy must not be loaded here."""
    done = subprocess.run(
        [sys.executable, "-c", f"import {__name__} as m; m._main()"],
        check=False,
        input=json.dumps([values, variables]),
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    if done.returncode:
        status = f"the check of URLs ended with status {done.returncode}"
        raise settings.SettingError(done.stderr.strip() or status)


def _main() -> None:
    values, variables = json.load(sys.stdin)
    try:
        settings.checked(values, settings.CHECKS | settings.SERVICE_CHECKS, variables)
    except settings.SettingError as error:
        sys.exit(error.message)


# gunicorn's hooks, and the application


def on_starting(server: Any = None) -> None:
    """Have a folder in which the workers to come share their metrics."""
    shared.open_folder()


def application() -> Any:
    """Return the application that FLASK_APP names, made with what `.env` sets."""
    from flask.cli import ScriptInfo

    settings.add_dotenv(os.environ, _dotenv)  # with --preload no worker is there yet
    return ScriptInfo(os.environ.get("FLASK_APP")).load_app()


def post_fork(server: Any, worker: Any) -> None:
    """Give the worker what `.env` sets, and metrics of its own."""
    settings.add_dotenv(os.environ, _dotenv)
    shared.prepare_worker()


def post_worker_init(worker: Any) -> None:
    """Warm the pool before the worker takes requests; the first worker logs the budget."""
    pools = getattr(worker.wsgi, "extensions", {}).get("flask_pool")
    if pools is None:
        return
    here = {"WEB_CONCURRENCY": worker.cfg.workers, "WEB_THREADS": worker.cfg.threads}
    # the budget counts what there is
    pools.settings |= {key: n for key, n in here.items() if worker.wsgi.config.get(key) is None}
    pools.prefill()
    if worker.age == 1:
        from .ops.budget import report  # which the master does without

        for level, line in report(worker.wsgi):
            worker.log.log(level, line)


def child_exit(server: Any, worker: Any) -> None:
    """Keep what an ended worker counted, and stop counting its connections."""
    shared.worker_ended(worker.pid)
