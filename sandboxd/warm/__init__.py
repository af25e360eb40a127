"""Containers booted ahead, for sandboxes to come: which (``demand``, ``plan``), one of them (``spare``), and all (``pool``).

A spare is a whole sandbox but for what is its user's: it has an id of its own, runs ``cove-init`` and nothing else, stands still under the
cgroup freezer, and may reach nothing. The router gives its id to a sandbox of its shape; the sandbox then is the spare, thawed.
"""

from sandboxd.warm.pool import Room, WarmPool

__all__ = ["Room", "WarmPool"]
