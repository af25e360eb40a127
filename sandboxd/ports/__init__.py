"""Connections from outside to ports inside sandboxes: HTTP Upgrade on the node's HTTP port, then raw bytes. See ``cove.wire.ports``."""

from sandboxd.ports.doorway import Doorway
from sandboxd.ports.relays import Relays

__all__ = ["Doorway", "Relays"]
