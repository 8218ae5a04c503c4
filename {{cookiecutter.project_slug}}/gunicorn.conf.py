"""Production: `gunicorn`, in this folder, with nothing else to say.

The master loads nothing of the package and keeps nothing of `.env`: so SIGHUP, which reads this
file again, serves new code with new settings.
"""

from __future__ import annotations

import os
import sys
import tomllib
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from dotenv import dotenv_values


def _load(file: Path) -> Any:
    """Return what a file of the package defines, None if there is no such file."""
    spec = spec_from_file_location(f"gunicorn_{file.stem}", file)
    if spec is None or spec.loader is None or not file.is_file():
        return None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_dotenv = dotenv_values(".flaskenv") | dotenv_values(".env")
_package = (os.environ.get("FLASK_APP") or _dotenv.get("FLASK_APP") or "").partition(":")[0]
_found = find_spec(_package) if _package.isidentifier() else None
if _found is None or not _found.submodule_search_locations:
    sys.exit(f"FLASK_APP: {_package!r} is not accepted; use the name of an installed package")
_folder = Path(_found.submodule_search_locations[0])
_pool = find_spec("flask_pool")
if _pool is None or not _pool.submodule_search_locations:
    sys.exit("flask_pool is not installed")
_settings = _load(Path(_pool.submodule_search_locations[0]) / "settings.py")
_shared = _load(Path(_pool.submodule_search_locations[0]) / "ops" / "shared.py")

_environ = dict(os.environ)
_settings.add_dotenv(_environ, _dotenv)
_checks = _settings.CHECKS | _settings.SERVICE_CHECKS
# what the last configuration of this process was, for a reload with a wrong one
_last: dict[str, Any] = sys.modules.setdefault(
    "gunicorn_last_settings", ModuleType("gunicorn_last_settings")
).__dict__
try:
    _defaults = tomllib.loads((_folder / "defaults.toml").read_text("utf-8"))
    _values = _settings.with_defaults(_settings.read(_defaults, _environ, checks=_checks))
    if _environ.get("FLASK_DEBUG", "").lower() in ("", "0", "false", "no"):
        _settings.require_secret(_values.get("SECRET_KEY"))
except _settings.SettingError as _error:
    if "values" not in _last:
        sys.exit(_error.message)
    sys.stderr.write(f"not reloaded, the settings stay as they were: {_error.message}\n")
    _values, _dotenv = _last["values"], _last["dotenv"]
_last.update(values=_values, dotenv=_dotenv)

wsgi_app = f"{_package}.__main__:application()"
_host = _values["HOST"]
bind = f"[{_host}]:{_values['PORT']}" if ":" in _host else f"{_host}:{_values['PORT']}"
workers = _values["WEB_CONCURRENCY"]
threads = _values["WEB_THREADS"]
worker_class = "gthread"
# requests in flight may use their whole statement timeout before a worker ends
graceful_timeout = int(_values["SQLALCHEMY_STATEMENT_TIMEOUT"]) + 5
# for the heartbeat: a file on a disk can stall a worker for as long as the disk is busy
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
# no door into the server that nobody asked for
control_socket_disable = True
# where the application lies is not for a client's header to say
forwarder_headers = ""

if _shared is not None:
    _shared.open_folder()


def post_fork(server: Any, worker: Any) -> None:
    """Give the worker what `.env` sets, and room for its metrics."""
    _settings.add_dotenv(os.environ, _dotenv)
    if _shared is not None:
        _shared.prepare_worker()


def post_worker_init(worker: Any) -> None:
    """Warm the pool before the worker takes requests."""
    worker.wsgi.extensions["pool"].prefill()
    if worker.age == 1 and _shared is not None:  # the first worker speaks for all
        budget = import_module("flask_pool.ops.budget")
        for level, line in budget.report(worker.wsgi):
            worker.log.log(level, line)


def child_exit(server: Any, worker: Any) -> None:
    """Keep what an ended worker counted, and stop counting its connections."""
    if _shared is not None:
        _shared.worker_ended(worker.pid)
