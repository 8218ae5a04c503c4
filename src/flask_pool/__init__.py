"""The connection pool: fair, bounded, seen. See README.md in this folder.

These names are all that the service uses.
"""

from . import settings
from .extension import Pool
from .queue_pool import FairQueuePool

__all__ = ["FairQueuePool", "Pool", "__version__", "settings"]

__version__ = "1.0.0"
