"""The connection pool: fair, bounded, seen. See README.md in this folder.

These names are all that the service uses.
"""

from . import settings
from .extension import Pool
from .queue_pool import FairQueuePool
from .requests import run_once

__all__ = ["FairQueuePool", "Pool", "__version__", "run_once", "settings"]

__version__ = "1.0.0"
