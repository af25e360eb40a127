"""Memory snapshots on a node: taken, kept, verified, fetched, and what of a sandbox goes with its memory."""

from sandboxd.memory.cache import MemoryCache

__all__ = ["MemoryCache"]
