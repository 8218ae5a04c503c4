"""What operators read: `/metrics`, and each worker's part of it."""

from __future__ import annotations

import contextlib
import hmac
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from flask import Blueprint, Response, abort, current_app, request
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from . import notes

bp = Blueprint("metrics", __name__)


class Samples(defaultdict[tuple[str, frozenset[tuple[str, str]]], float]):
    """What one process counted, or several."""

    def __init__(self) -> None:
        super().__init__(float)

    def add(self, metrics: Iterable[Metric]) -> None:
        """Add metrics as prometheus_client gives them."""
        for metric in metrics:
            for sample in metric.samples:
                self[sample.name, frozenset(sample.labels.items())] += sample.value

    def value(self, name: str, **labels: str) -> float:
        """Return one sample, 0 if there is none yet."""
        return self.get((name, frozenset(labels.items())), 0.0)


class Workers(Collector):
    """Adds up what the workers wrote."""

    def collect(self) -> Iterable[Metric]:
        """Return the metrics of all workers."""
        folder = notes.folder()
        names = [str(file) for file in written(folder)] if folder else []
        found: Iterable[Metric] = MultiProcessCollector.merge(names)  # type: ignore[no-untyped-call]
        return found


def written(folder: Path) -> Iterator[Path]:
    """Yield the files of the workers, but those that are being made and can't be read yet."""
    for file in folder.glob("*_*.db"):
        with contextlib.suppress(FileNotFoundError):  # of a worker that has just ended
            if file.stat().st_size:
                yield file


@bp.get("/metrics")
def metrics() -> Response:
    """The metrics of all workers."""
    require_operator()
    registry: CollectorRegistry = REGISTRY
    if notes.folder():
        registry = CollectorRegistry()
        registry.register(Workers())
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def by_process() -> dict[int, Samples]:
    """Return what each process counted, those that ended too."""
    folder = notes.folder()
    found: dict[int, Samples] = defaultdict(Samples)
    if folder is None:
        found[os.getpid()].add(REGISTRY.collect())
        return found
    files = defaultdict(list)
    for file in written(folder):
        files[int(file.stem.rpartition("_")[2])].append(str(file))
    for pid, names in files.items():
        found[pid].add(MultiProcessCollector.merge(names))  # type: ignore[no-untyped-call]
    return found


def require_operator() -> None:
    """Hide operators' pages (404) but in debug mode or for the bearer of OPS_TOKEN."""
    token = current_app.config.get("OPS_TOKEN") or ""
    given = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if current_app.debug or (token and hmac.compare_digest(given.encode(), token.encode())):
        return
    abort(404)
