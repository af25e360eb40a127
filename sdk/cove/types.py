"""Names, ids and small values that SDK and services share. Pure: no I/O, no clock."""

from __future__ import annotations

import re
import secrets
from enum import StrEnum
from typing import Final, NewType

from cove.exception import InvalidError

SandboxId = NewType("SandboxId", str)
TaskId = NewType("TaskId", str)
AppId = NewType("AppId", str)
ExecId = NewType("ExecId", str)
NodeId = NewType("NodeId", str)

MAIN_EXEC_ID: Final = ExecId("main")
"""Exec id of a sandbox's main process: the command given to ``Sandbox.create``."""

EXIT_TIMEOUT: Final = 124
"""``returncode`` of what ran into a timeout, as timeout(1) has it."""

EXIT_TERMINATED: Final = 137
"""``returncode`` of what was terminated or lost: 128 + SIGKILL."""


class EndReason(StrEnum):
    """How a sandbox (later also a Function call) ended. Part of the wire contract: ``cove.v1.EndReason`` has the same names."""

    SUCCESS = "success"
    FAILURE = "failure"
    TERMINATED = "terminated"
    TIMEOUT = "timeout"
    IDLE_TIMEOUT = "idle_timeout"
    OUT_OF_MEMORY = "out_of_memory"
    INIT_FAILURE = "init_failure"
    INTERNAL_FAILURE = "internal_failure"


_NAME = re.compile(r"[A-Za-z0-9._-]+")
_ID = re.compile(r"(?P<prefix>[a-z]{2})-[A-Za-z0-9]{22}")
_ID_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def new_id(prefix: str) -> str:
    """A fresh id such as ``sb-3xK…``: the prefix, a dash and 22 random base-62 characters (131 bits)."""
    return prefix + "-" + "".join(secrets.choice(_ID_ALPHABET) for _ in range(22))


def is_id(text: str, prefix: str) -> bool:
    """Whether ``text`` has the form that :func:`new_id` gives for ``prefix``."""
    match = _ID.fullmatch(text)
    return match is not None and match["prefix"] == prefix


def check_name(name: str, *, what: str, max_length: int = 64) -> str:
    """Return ``name`` if it may name a ``what`` (an App, a Sandbox).

    Raises:
        InvalidError: empty, longer than ``max_length``, or with characters outside ``[A-Za-z0-9._-]``.
    """
    if not name or len(name) > max_length or not _NAME.fullmatch(name):
        raise InvalidError(
            f"{what} name {name[:80]!r} is not valid.",
            remedy=f"Use 1 to {max_length} letters, digits, dashes, periods and underscores.",
        )
    return name
