"""Reads from replicas that have all that this client wrote or saw: positions, not clocks.

The answer to a write carries the position of its commit in the primary's log, signed. A safe
request that brings it back reads from a replica that is past it, as far as this worker knows, and
from the primary if there is none. Only what was proven to be a plain read leaves the primary.
"""

from .routing import Replicas, make_engines

__all__ = ["Replicas", "make_engines"]
