"""The folder in which the workers of a server share what they count, in a JSON file each.

A server's master imports this, so it imports nothing of Flask or SQLAlchemy. The master calls
`open_folder` whenever it reads its configuration, `prepare_worker` in each new worker, and
`worker_ended` after one has ended. Whatever goes wrong here costs metrics, and never the service.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import shutil
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import gettempdir, mkdtemp
from threading import get_ident
from typing import Any

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client's own
PREFIX = "flask-pool-metrics-"
# memory first: a file on a disk can stall a worker for as long as the disk is busy
PLACES = ("/dev/shm", gettempdir())  # noqa: S108
PATIENCE = 1.0  # seconds that a master waits for who reads

# the numbers of each metric and its labels, by JSON that begins with the kind of metric
Numbers = Mapping[str, list[float]]

logger = logging.getLogger("gunicorn.error")

_folder: Path | None = None
_lost = False  # what this process counted can't be written now


def folder() -> Path | None:
    """Return where workers share their metrics, None if this process is alone."""
    return _folder if _folder is not None and _folder.is_dir() else None


# in the master


def open_folder() -> None:
    """Have a folder for the workers of this master; remove those of masters that were killed."""
    global _folder  # noqa: PLW0603 - one for each process
    if _folder is not None:
        return
    given = os.environ.get(VARIABLE)
    for place in (given, *PLACES) if given else PLACES:
        _remove_abandoned(place)
        with suppress(OSError):
            draft = Path(mkdtemp(dir=place))
            _lock(os.open(draft, os.O_RDONLY), exclusive=False)  # by this process, while it runs
            # it has its name once it is locked: another server takes others for abandoned
            _folder = draft.rename(draft.with_name(PREFIX + draft.name))
            atexit.register(_close_folder)
            return
    logger.warning("workers share no metrics: no folder can be made for them")


def _close_folder() -> None:
    shutil.rmtree(str(_folder), ignore_errors=True)


def _remove_abandoned(place: str) -> None:
    for abandoned in Path(place).glob(f"{PREFIX}*"):
        with suppress(OSError):  # somebody else's, or locked
            descriptor = os.open(abandoned, os.O_RDONLY)
            try:
                _lock(descriptor, exclusive=True)
                shutil.rmtree(abandoned)
            finally:
                os.close(descriptor)


def worker_ended(pid: int) -> None:
    """Add what ended workers counted to one archive, and remove their files."""
    place = folder()
    if place is None:
        return
    try:
        with _locked(place, exclusive=True):
            archive = place / "ended.json"
            # also of one that ended while somebody read for too long
            ended = [file for file in place.glob("[0-9]*.json") if _has_ended(file, pid)]
            if ended:
                every = map(_read, [*place.glob(archive.name), *ended])
                replace(archive, added_up(map(_totals, every)))
            for file in [*ended, *place.glob(f"*.draft_{pid}")]:
                file.unlink()
    except OSError as error:
        logger.warning("metrics of worker %s: %s", pid, error)


def _has_ended(file: Path, pid: int) -> bool:
    return int(file.stem) == pid or not _runs(int(file.stem))


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, PermissionError)
    return True


# in a worker


def prepare_worker() -> None:
    """Begin anew in a worker: neither its folder nor files of its number are its own."""
    atexit.unregister(_close_folder)  # the master does it
    worker_ended(os.getpid())  # another one with the same number


def write(numbers: Numbers) -> None:
    """Have other workers see what this one counted."""
    global _lost  # noqa: PLW0603
    if _folder is None:
        return
    try:
        replace(_folder / f"{os.getpid()}.json", numbers)
        _lost = False
    except OSError as error:
        if not _lost:
            logger.warning("worker %s shares no metrics: %s", os.getpid(), error)
        _lost = True


def replace(file: Path, found: object) -> None:
    """Write JSON; who reads meanwhile sees what was there before."""
    draft = file.with_name(f"{file.name}.{get_ident()}.draft_{os.getpid()}")
    try:
        draft.write_text(json.dumps(found), encoding="utf-8")
        draft.replace(file)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


# whoever reads


def read() -> dict[str, Numbers]:
    """Return the numbers of each worker by its process id; those of ended ones have another name.

    None is added to the archive meanwhile.
    """
    place = folder()
    if place is None:
        return {}
    with _locked(place, exclusive=False):
        files = {file.stem: _read(file) for file in place.glob("*.json")}
    return {
        name: numbers if name.isdigit() and _runs(int(name)) else _totals(numbers)
        for name, numbers in files.items()
    }


def added_up(many: Iterable[Numbers]) -> Numbers:
    """Return the numbers of several processes as one."""
    rows = defaultdict(list)
    for numbers in many:
        for key, row in numbers.items():
            rows[key].append(row)
    return {
        key: list(map(max if key.startswith('["gauge_max"') else sum, zip(*each, strict=True)))
        for key, each in rows.items()
    }


def _totals(numbers: Numbers) -> Numbers:
    """Leave out gauges, which an ended process has no more."""
    return {key: row for key, row in numbers.items() if not key.startswith('["gauge')}


def _read(file: Path) -> Any:
    return json.loads(file.read_text("utf-8"))


@contextmanager
def _locked(place: Path, *, exclusive: bool) -> Iterator[None]:
    until = time.monotonic() + PATIENCE
    with (place / "lock").open("ab") as file:
        while True:
            try:
                _lock(file.fileno(), exclusive=exclusive)
                break
            except BlockingIOError:  # whoever is stopped meanwhile must not stop the others
                if time.monotonic() > until:
                    raise
                time.sleep(0.01)
        yield


def _lock(descriptor: int, *, exclusive: bool) -> None:
    import fcntl  # not on Windows, where there is no such server

    fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
