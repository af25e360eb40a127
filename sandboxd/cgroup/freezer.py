"""Stops and continues all processes of a group at once, with a freezer of either kind. No process notices."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Final

from cove.exception import InternalFailure

FREEZE_S: Final = 2.0
"""Processes stop within microseconds unless one is deep in the kernel, waiting for a disk."""

_POLL_S: Final = 0.0005


def freeze(group: Path) -> None:
    """Return once no process of the group runs. Raises: InternalFailure: one did not stop in time; all run again. FileNotFoundError."""
    v1 = (group / "freezer.state").exists()
    file, word = ("freezer.state", "FROZEN") if v1 else ("cgroup.freeze", "1")
    deadline = time.monotonic() + FREEZE_S
    (group / file).write_text(word)
    while not _is_frozen(group, v1=v1):
        if time.monotonic() > deadline:
            thaw(group)
            raise InternalFailure("The sandbox's processes did not stop in time.", remedy="Try again.", retryable=True)
        time.sleep(_POLL_S)
        if v1:
            (group / file).write_text(word)  # a v1 freezer that met a process which could not stop wants to be asked again


def thaw(group: Path) -> None:
    """Let the processes of the group run. Idempotent; a group that is gone has nobody to thaw."""
    with contextlib.suppress(OSError):
        if (group / "freezer.state").exists():
            (group / "freezer.state").write_text("THAWED")
        else:
            (group / "cgroup.freeze").write_text("0")


def _is_frozen(group: Path, *, v1: bool) -> bool:
    if v1:
        return (group / "freezer.state").read_text().strip() == "FROZEN"
    return "frozen 1" in (group / "cgroup.events").read_text().splitlines()
