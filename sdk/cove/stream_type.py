"""What happens to a process's output on the client."""

from __future__ import annotations

import subprocess
from enum import Enum


class StreamType(Enum):
    """Where ``stdout`` or ``stderr`` of ``Sandbox.exec`` goes. The server keeps the output in each case."""

    PIPE = subprocess.PIPE
    """Wait to be read."""
    STDOUT = subprocess.STDOUT
    """Print it on the client's standard output as it comes."""
    DEVNULL = subprocess.DEVNULL
    """Do not fetch it."""
