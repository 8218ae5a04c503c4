"""What is compared: the baked service, its variants, and what is written instead of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONFIG = Path(__file__).with_name("apps") / "gunicorn.conf.py"


@dataclass(frozen=True)
class Candidate:
    """One way to write the user directory, and how gunicorn finds it."""

    key: str
    title: str
    factory: str = ""

    @property
    def is_baked(self) -> bool:
        """Tell whether it runs in the project's folder, with the project's own gunicorn.conf.py."""
        return not self.factory or self.factory.startswith("variants:")

    @property
    def has_view(self) -> bool:
        """Tell whether it has the view that all engines are compared by."""
        return self.factory.startswith(("variants:", "plain:"))

    def arguments(self) -> list[str]:
        """Give gunicorn's arguments; the untouched service needs none."""
        if not self.factory:
            return []
        own = [] if self.is_baked else ["--config", str(CONFIG)]
        return [*own, f"benchmarks.apps.{self.factory}"]

    def environment(self) -> dict[str, str]:
        """Give what its application needs besides the settings."""
        return {"PYTHONPATH": str(ROOT)} if self.factory else {}


UNTOUCHED = Candidate("untouched", "baked service, untouched")
BAKED = Candidate("baked", "baked service", "variants:baked()")
PLAIN_POOL = Candidate("plain_pool", "baked, plain QueuePool", "variants:plain_pool()")
UNMEASURED = Candidate("unmeasured", "baked, metrics off", "variants:unmeasured()")
PROTOTYPE = Candidate("prototype", "prototype, reads alone", "plain:prototype()")
PRE_PING = Candidate("pre_ping", "Flask-SQLAlchemy, pre-ping", "plain:pre_ping()")
DEFAULTS = Candidate("defaults", "Flask-SQLAlchemy, defaults", "plain:defaults()")
UNPOOLED = Candidate("unpooled", "Flask-SQLAlchemy, unpooled", "plain:unpooled()")
BY_HAND = Candidate("by_hand", "psycopg_pool by hand", "by_hand:documented()")
AUTOCOMMIT = Candidate("autocommit", "psycopg_pool, autocommit", "by_hand:autocommit()")

TITLES = {
    candidate.key: candidate.title
    for candidate in (
        UNTOUCHED, BAKED, PLAIN_POOL, UNMEASURED, PROTOTYPE, PRE_PING, DEFAULTS, UNPOOLED, BY_HAND,
        AUTOCOMMIT,
    )
}  # fmt: skip
