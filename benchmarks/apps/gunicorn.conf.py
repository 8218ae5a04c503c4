"""How the references are served: with the numbers and choices of the baked service."""

from __future__ import annotations

import os

bind = f"127.0.0.1:{os.environ['PORT']}"
worker_class = "gthread"
workers = int(os.environ["WEB_CONCURRENCY"])
threads = int(os.environ["WEB_THREADS"])
graceful_timeout = 35
control_socket_disable = True
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108, PTH112
