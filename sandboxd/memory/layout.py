"""Names in a memory snapshot's directory; see ``memory.cache``."""

from __future__ import annotations

from typing import Final

IMAGE: Final = "image"
GUEST: Final = "guest"
STATE: Final = "state"
MANIFEST: Final = "manifest.json"
