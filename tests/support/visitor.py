"""Visitors of servers inside sandboxes."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from typing import Final

START_S: Final = 30.0
"""How long a server inside may take to start, on a machine however busy."""


def fetch(url: str) -> bytes:
    """What the server inside says, once it has started."""
    deadline = time.monotonic() + START_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                content: bytes = response.read()
                return content
        except urllib.error.HTTPError as error:
            if error.code != 502 or time.monotonic() > deadline:
                raise
            assert b"Nothing answers on port" in error.read()
            time.sleep(0.1)
