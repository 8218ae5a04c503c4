"""A connection pool for Flask-SQLAlchemy: fair, bounded and observable."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import settings
    from .extension import Pool
    from .queue_pool import FairQueuePool

__all__ = ["FairQueuePool", "Pool", "__version__", "settings"]

__version__ = "1.1.0.dev43"

_PLACES = {"FairQueuePool": ".queue_pool", "Pool": ".extension"}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: a server's master needs no Flask."""
    if name == "settings":
        return import_module(".settings", __name__)
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_PLACES[name], __name__), name)
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted({*globals(), *__all__})
