"""A worker's threads share one core, and nothing that it forks is bound to it."""

from __future__ import annotations

import os
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


def may_move(worker: psutil.Process) -> bool:
    """Tell whether the system may choose a core for some of its threads right now."""
    return CORES in cores(worker)


def busy(service: Service) -> None:
    """Make the service start its threads."""
    assert statuses(load(lambda _: service.get(), 50)) == {200: 50}


def test_each_worker_keeps_to_one_core_and_may_be_moved(
    on_postgresql: Database, serve: Serve
) -> None:
    """Between two stays on one core the system may choose another one."""
    service = serve(on_postgresql.url())
    busy(service)

    for worker in service.workers():
        servers.wait_until(partial(on_one_core, worker))
        servers.wait_until(partial(may_move, worker), pause=0.001)
        servers.wait_until(partial(on_one_core, worker))
    master = psutil.Process(service.workers()[0].ppid())
    assert set(map(frozenset, cores(master))) == {frozenset(CORES)}


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
        import_module(os.environ["FLASK_APP"] + ".affinity").keep_to_one_core()
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
