"""Memory snapshots on a node: taken, kept, verified, fetched, and what of a sandbox goes with its memory."""

from sandboxd.memory.cache import MemoryCache
from sandboxd.memory.paused import PausedMemory

__all__ = ["MemoryCache", "PausedMemory"]
