"""Production: `gunicorn`, in this folder, with nothing else to say."""

from __future__ import annotations

import atexit
import importlib
import os
import shutil
import sys
import tempfile
from typing import Any

from dotenv import load_dotenv

for _file in (".env", ".flaskenv"):  # what is set already wins
    load_dotenv(_file)
# a file on a disk can stall a worker for as long as the disk is busy
_memory = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108
_master = os.getpid()
# one that an upgraded master (USR2) inherits goes with the old master
if os.environ.get("METRICS_MASTER", "given") not in ("given", str(_master)):
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
    # workers share their metrics through files; prometheus_client looks as it is imported
    _folder = tempfile.mkdtemp(prefix="metrics-", dir=_memory)
    os.environ.update(PROMETHEUS_MULTIPROC_DIR=_folder, METRICS_MASTER=str(_master))

    @atexit.register
    def _remove_metrics() -> None:
        if os.getpid() == _master:  # not a worker
            shutil.rmtree(_folder, ignore_errors=True)


_package = os.environ["FLASK_APP"]
_config = importlib.import_module(f"{_package}.config")
try:
    _settings = _config.read(os.environ)
except _config.SettingError as _error:
    sys.exit(_error.message)

wsgi_app = f"{_package}:create_app()"
bind = f"{_settings['HOST']}:{_settings['PORT']}"
worker_class = "gthread"
workers = _settings["WEB_CONCURRENCY"]
threads = _settings["WEB_THREADS"]
# requests in flight may use their whole statement timeout before a worker ends
graceful_timeout = int(_settings["SQLALCHEMY_STATEMENT_TIMEOUT"]) + 5
# no door into the server that nobody asked for
control_socket_disable = True
worker_tmp_dir = _memory  # for the heartbeat


def post_worker_init(worker: Any) -> None:
    """Give the worker its core and warm its pool before it takes requests."""
    if _settings["WEB_CPU_AFFINITY"]:
        importlib.import_module(f"{_package}.affinity").keep_to_one_core(worker.age)
    lifecycle = importlib.import_module(f"{_package}.pool.lifecycle")
    lifecycle.prefill(worker.wsgi)
    if worker.age == 1:  # the first worker speaks for all
        budget = importlib.import_module(f"{_package}.pool.budget")
        for level, line in budget.report(worker.wsgi):
            worker.log.log(level, line)


def child_exit(server: Any, worker: Any) -> None:
    """Stop counting a dead worker's connections."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
