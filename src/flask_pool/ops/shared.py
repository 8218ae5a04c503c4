"""The folder in which the workers of a server share their metrics, in prometheus_client's files.

A server's master imports this, so it imports nothing of Flask or SQLAlchemy. The master calls
`open_folder` whenever it reads its configuration, `prepare_worker` in each new worker, and
`worker_ended` after one has ended. Whatever goes wrong here costs metrics, and never the service.
"""

from __future__ import annotations

import atexit
import errno
import logging
import mmap
import os
import re
import shutil
import struct
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from tempfile import gettempdir, mkdtemp
from typing import Any

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client's own
DESCRIPTOR = "POOL_METRICS_LOCK"  # of the file that a master keeps locked as long as it runs
PREFIX = "pool-metrics-"
# memory first: a file on a disk can stall a worker for as long as the disk is busy
PLACES = ("/dev/shm", gettempdir())  # noqa: S108
# `counter_pool_1.db` has this library's numbers of process 1, `counter_1.db` the application's own
OWN = re.compile(r"(counter|histogram|summary|gauge_[a-z]+|draft|master)(?:_\w+)?_(\d+)(\.\w+)?")
ADDED_UP = ("counter", "histogram", "summary", "gauge_sum")  # of workers that have ended
ROOM = 1 << 16  # bytes by which a file grows
PATIENCE = 1.0  # seconds that a master waits for who reads

logger = logging.getLogger("gunicorn.error")


def folder() -> Path | None:
    """Return where workers share their metrics, None if this process is alone."""
    name = os.environ.get(VARIABLE)
    return Path(name) if name else None


# in the master


def open_folder() -> None:
    """Have a folder for the workers of this master; remove those of masters that were killed.

    An upgraded master (USR2) goes on with the folder of the old one, so that no counter falls.
    """
    if _is_open():
        return
    given = os.environ.pop(VARIABLE, PREFIX)
    _remove_abandoned()
    for place in PLACES:
        with suppress(OSError):
            own = PREFIX in given and (_of_old_master() or mkdtemp(prefix=PREFIX, dir=place))
            _take(Path(own or given))
        if _is_open():  # and not removed before it was locked
            atexit.register(_close_folder)
            break
    else:
        logger.warning("workers share no metrics: no folder can be made for them")
    _choose_values()


def worker_ended(pid: int) -> None:
    """Add what ended workers counted to one archive, and remove their files."""
    place = folder()
    if place is None:
        return
    for file in place.glob(f"gauge_live*_{pid}.db"):
        file.unlink(missing_ok=True)
    ended: dict[str, list[Path]] = defaultdict(list)
    try:
        with _locked(place, exclusive=True):
            for file in place.iterdir():
                found = OWN.fullmatch(file.name)
                # also of one that ended while somebody read for too long
                if found and (int(found[2]) == pid or not _runs(int(found[2]))):
                    ended[found[1]].append(file)
            for kind, files in ended.items():
                if kind in ADDED_UP:
                    _add(files, place / f"{kind}_archive.db")
                for file in files:
                    file.unlink()
    except OSError as error:
        logger.warning("metrics of worker %s: %s", pid, error)


def _add(files: list[Path], archive: Path) -> None:
    totals: dict[str, float] = defaultdict(float)
    for file in [*archive.parent.glob(archive.name), *files]:
        try:
            for key, value in read(file):
                totals[key] += value
        except (ValueError, struct.error) as error:
            logger.warning("metrics of an ended worker are lost: %s: %s", file.name, error)
    entries = b"".join(_entry(key, value) for key, value in totals.items())
    draft = archive.with_name(f"draft_{os.getpid()}.db")
    draft.write_bytes(struct.pack("ii", 8 + len(entries), 0) + entries)
    draft.replace(archive)


def _of_old_master() -> Path | None:
    """Return the folder of the gunicorn that this one replaces."""
    mark = f"{PREFIX}*/master_{os.environ.get('GUNICORN_PID', 'none')}"
    found = (each.parent for place in PLACES for each in Path(place).glob(mark))
    return next((each for each in found if each.stat().st_uid == os.geteuid()), None)


def _take(place: Path) -> None:
    place.mkdir(exist_ok=True)
    lock = place / "master.lock"
    # it has its name once it is locked: another server that starts takes others for abandoned
    draft = lock if lock.exists() else place / "draft.lock"
    descriptor = os.open(draft, os.O_RDWR | os.O_CREAT, 0o600)
    _lock(descriptor, exclusive=False)
    draft.rename(lock)
    os.environ |= {VARIABLE: str(place), DESCRIPTOR: str(descriptor)}


def _is_open() -> bool:
    """Tell whether this process holds the lock of its folder."""
    try:
        held = os.fstat(int(os.environ[DESCRIPTOR]))
        return os.path.samestat(held, Path(os.environ[VARIABLE], "master.lock").stat())
    except (KeyError, ValueError, OSError):
        return False


def _release() -> bool:
    """Let go of the lock, if this process holds it."""
    held = _is_open()
    if held:
        os.close(int(os.environ.pop(DESCRIPTOR)))
    return held


def _close_folder() -> None:
    if _release():  # not in a worker
        _remove_abandoned()


def _remove_abandoned() -> None:
    for lock in (lock for place in PLACES for lock in Path(place).glob(f"{PREFIX}*/master.lock")):
        with suppress(OSError), lock.open("r+b") as file:  # somebody else's, or locked
            _lock(file.fileno(), exclusive=True)
            shutil.rmtree(lock.parent)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, PermissionError)
    return True


# in a worker


def prepare_worker() -> None:
    """Have room for this worker's metrics; where there is none they are its own."""
    place = folder()
    if place is None:
        return
    _release()  # the lock is the master's
    worker_ended(os.getpid())  # another one with the same number
    room = place / f"draft_{os.getpid()}.db"
    try:
        (place / f"master_{os.getppid()}").touch()
        room.write_bytes(bytes(3 * ROOM))
        room.unlink()
    except OSError as error:
        logger.warning("worker %s shares no metrics: %s", os.getpid(), error)
        room.unlink(missing_ok=True)
        del os.environ[VARIABLE]
        _choose_values()


def _choose_values() -> None:
    """Have the application's own metrics that are made from now on be shared, or not.

    prometheus_client's MmapedDict writes into blocks that the disk may not have, which ends the
    process: a private name of its, without which such metrics are shared all the same.
    """
    with suppress(ImportError, AttributeError):
        values: Any = import_module("prometheus_client.values")
        values.MmapedDict = ValuesFile
        values.ValueClass = values.get_value_class()


class ValuesFile:
    """A process's values in prometheus_client's format, in a file as far as there is room."""

    def __init__(self, filename: str) -> None:
        self._positions: dict[str, int] = {}
        self._end, self._size = 8, 0
        self._file: Any = None
        self._map: Any = None
        with suppress(OSError):
            self._file = Path(filename).open("w+b", buffering=0)  # noqa: SIM115
            self._grow()

    def read_value(self, key: str) -> tuple[float, float]:
        """Return a value, which is 0 at first, and its time."""
        position = self._positions.get(key)
        if position is not None:
            value, timestamp = struct.unpack_from("dd", self._map, position)
            return value, timestamp
        entry = _entry(key, 0.0)
        with suppress(OSError):
            while self._map and self._end + len(entry) > self._size:
                self._grow()
            if self._map:
                self._map[self._end : self._end + len(entry)] = entry
                self._end += len(entry)
                self._map[:4] = struct.pack("i", self._end)
                self._positions[key] = self._end - 16
        return 0.0, 0.0

    def write_value(self, key: str, value: float, timestamp: float) -> None:
        """Keep a value for those who read the file."""
        position = self._positions.get(key)
        if position is not None:
            self._map[position : position + 16] = struct.pack("dd", value, timestamp)

    def close(self) -> None:
        """Let go of the file."""
        for each in filter(None, (self._map, self._file)):
            each.close()

    def _grow(self) -> None:
        """Have more blocks of the disk; OSError if there are none."""
        if os.pwrite(self._file.fileno(), bytes(ROOM), self._size) < ROOM:
            raise OSError(errno.ENOSPC, "no room")
        self._size += ROOM
        self._map = mmap.mmap(self._file.fileno(), self._size)


def _entry(key: str, value: float) -> bytes:
    text = key.encode()
    padded = text + b" " * (8 - (len(text) + 4) % 8)
    return struct.pack(f"i{len(padded)}sdd", len(text), padded, value, 0.0)


# whoever reads


def read(file: Path) -> Iterator[tuple[str, float]]:
    """Yield the keys and values of a file; ValueError or struct.error if it is damaged."""
    data = file.read_bytes()
    (end,), position = struct.unpack_from("i", data) if data else (0,), 8
    while position < end:
        (length,) = struct.unpack_from("i", data, position)
        start, room = position + 4, length + 8 - (length + 4) % 8
        if length <= 0 or start + room > len(data):
            raise ValueError(f"no entry of {length} bytes at {position}")
        (value,) = struct.unpack_from("d", data, start + room)
        yield data[start : start + length].decode(), value
        position = start + room + 16


@contextmanager
def files() -> Iterator[dict[str, list[str]]]:
    """Yield the files of each process and of the archive; none is added up meanwhile."""
    place, found = Path(os.environ[VARIABLE]), defaultdict(list)
    with _locked(place, exclusive=False):
        for file in place.glob("[cghs]*_*.db"):
            with suppress(FileNotFoundError):  # the gauges of one that has just ended
                if file.stat().st_size:  # else it is just being made
                    found[file.stem.rpartition("_")[2]].append(str(file))
        yield found


@contextmanager
def _locked(place: Path, *, exclusive: bool) -> Iterator[None]:
    until = time.monotonic() + PATIENCE
    with (place / "archive.lock").open("ab") as file:
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
