"""A worker's threads share one core, and nothing that it forks is bound to it."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial

import psutil
import pytest
import servers

from .conftest import Database, Serve
from .load import load, statuses
from .project import Project
from .service import Service

CORES = os.sched_getaffinity(0)

pytestmark = pytest.mark.skipif(len(CORES) == 1, reason="a machine with one core has no choice")


def cores(worker: psutil.Process) -> list[set[int]]:
    """Tell on which cores each of a process's threads may run."""
    return [os.sched_getaffinity(thread.id) for thread in worker.threads()]


def on_one_core(worker: psutil.Process) -> bool:
    """Tell whether all threads are bound to the same core right now."""
    allowed = cores(worker)
    return len(allowed) > 1 and all(one == allowed[0] and len(one) == 1 for one in allowed)


def busy(service: Service) -> None:
    """Make the service start its threads."""
    assert statuses(load(lambda _: service.get(), 50)) == {200: 50}


def core(worker: psutil.Process) -> int:
    """Give the one core on which a process's first thread may run."""
    (found,) = os.sched_getaffinity(worker.pid)
    return found


def test_each_worker_keeps_to_a_core_of_its_own(on_postgresql: Database, serve: Serve) -> None:
    """The master has all of them, to give them to the next worker."""
    service = serve(on_postgresql.url())
    busy(service)
    workers = service.workers()

    for worker in workers:
        servers.wait_until(partial(on_one_core, worker))
    servers.wait_until(lambda: len({core(worker) for worker in workers}) == 2)
    assert os.sched_getaffinity(workers[0].ppid()) == CORES


def test_a_worker_leaves_a_core_that_others_need(on_postgresql: Database, serve: Serve) -> None:
    """Another program takes all of the worker's core: it moves to one that has time."""
    service = serve(on_postgresql.url(), WEB_CONCURRENCY=1)
    busy(service)
    (worker,) = service.workers()
    servers.wait_until(partial(on_one_core, worker))
    taken = core(worker)

    hog = subprocess.Popen(
        [sys.executable, "-c", f"import os; os.sched_setaffinity(0, {{{taken}}})\nwhile True: pass"]
    )
    try:
        servers.wait_until(lambda: core(worker) != taken)
    finally:
        hog.kill()
        hog.wait()
    servers.wait_until(partial(on_one_core, worker))


def test_a_setting_leaves_the_workers_all_cores(on_postgresql: Database, serve: Serve) -> None:
    """For threads that compute in C, side by side."""
    service = serve(on_postgresql.url(), WEB_CPU_AFFINITY=False)
    busy(service)

    assert all(each == CORES for worker in service.workers() for each in cores(worker))


def test_a_forked_child_may_use_every_core(project: Project) -> None:
    """It is no worker of the service; it has the cores that its parent had at first."""
    code = """if True:
        import os, time
        from importlib import import_module
        import_module(os.environ["FLASK_APP"] + ".affinity").keep_to_one_core(0)
        while len(os.sched_getaffinity(0)) > 1:
            time.sleep(0.001)
        if os.fork() == 0:
            print(sorted(os.sched_getaffinity(0)), flush=True)
            os._exit(0)
        os.wait()
    """
    name = next((project.path / "src").iterdir()).name
    said = project.run("sqlite://", "python", "-W", "ignore", "-c", code, FLASK_APP=name)
    assert said.splitlines()[-1] == str(sorted(CORES))
