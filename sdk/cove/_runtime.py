"""Where this code is running."""

from __future__ import annotations

import os


def is_local() -> bool:
    """True on a client, False in a container that cove runs a Function in."""
    return os.environ.get("COVE_IS_REMOTE") != "1"
