"""What is compared: the baked service, its variants, and what is written instead of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

APPS = Path(__file__).with_name("apps")


@dataclass(frozen=True)
class Candidate:
    """One way to write the user directory, and how gunicorn finds it."""

    key: str
    title: str
    factory: str = ""
    is_baked: bool = False
    has_writes: bool = True
    settings: Mapping[str, str] = field(default_factory=dict)

    def arguments(self) -> list[str]:
        """Give gunicorn's arguments; the baked service needs none."""
        if not self.factory:
            return []
        own = [] if self.is_baked else ["--config", str(APPS / "gunicorn.conf.py")]
        return [*own, "--pythonpath", str(APPS), self.factory]


BAKED = Candidate("baked", "baked service", is_baked=True)
PLAIN_POOL = Candidate(
    "plain_pool", "baked, plain QueuePool", "variants:plain_pool()", is_baked=True
)
UNMEASURED = Candidate("unmeasured", "baked, metrics off", "variants:unmeasured()", is_baked=True)
PRE_PING = Candidate("pre_ping", "Flask-SQLAlchemy, pre-ping", "tutorial:pre_ping()")
DEFAULTS = Candidate("defaults", "Flask-SQLAlchemy, defaults", "tutorial:defaults()")
UNPOOLED = Candidate("unpooled", "Flask-SQLAlchemy, unpooled", "tutorial:unpooled()")
BY_HAND = Candidate("by_hand", "psycopg_pool by hand", "by_hand:documented()")
AUTOCOMMIT = Candidate("autocommit", "psycopg_pool, autocommit", "by_hand:autocommit()")
POOLER = Candidate("pgbouncer", "baked, through PgBouncer", is_baked=True)
FIXED = Candidate("fixed", "static route, no database", "fixed:create_app()", has_writes=False)

ALL = (
    BAKED, PLAIN_POOL, UNMEASURED, PRE_PING, DEFAULTS, UNPOOLED, BY_HAND, AUTOCOMMIT, FIXED,
)  # fmt: skip
TITLES = {candidate.key: candidate.title for candidate in (*ALL, POOLER)}
