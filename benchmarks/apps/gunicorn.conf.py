"""How the references are served: as the baked service; a run checks that nothing differs."""

from __future__ import annotations

import os

bind = f"127.0.0.1:{os.environ['PORT']}"
worker_class = "gthread"
workers = int(os.environ["WEB_CONCURRENCY"])
threads = int(os.environ["WEB_THREADS"])
graceful_timeout = 35
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
control_socket_disable = True
forwarder_headers = ""
