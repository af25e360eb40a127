"""What runsc says: state, lists and failures. Pure; runsc is trusted, its shape is still checked."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from cove.exception import ConflictError, Error, ResourceExhaustedError
from sandboxd.runtime import ContainerStatus, RuntimeFailed

MAX_FAILURE_TEXT: Final = 800
MAX_NAME: Final = 200
_DELETED: Final = re.compile(rb'gofer\.dentry\("([^"\n]*)"\)\.beforeSave: deleted')
_FULL: Final = b"no space left on device"
_STACK: Final = b"\ngoroutine "
"""What comes after it is for gVisor's developers."""


class State(msgspec.Struct, frozen=True):
    """``runsc state``: the fields used here."""

    id: str
    status: ContainerStatus
    pid: int = 0
    """The sentry's pid on the host; 0 once it is gone."""


class _LogLine(msgspec.Struct):
    level: str = ""
    msg: str = ""


def parse_state(output: bytes) -> State:
    """Raises: msgspec.ValidationError: not what runsc prints."""
    return msgspec.json.decode(output, type=State)


def parse_list(output: bytes) -> list[str]:
    """Ids from ``runsc list --quiet``."""
    return output.decode("ascii", "replace").split()


def checkpoint_failure(stderr: bytes) -> Error:
    """Why memory was not written: something that no memory image can hold, or a failure of ours."""
    if (found := _DELETED.search(stderr)) is not None:
        name = found[1].decode("utf-8", "replace")[:MAX_NAME]
        return ConflictError(
            f"A program has the file /{name} open, which was deleted: memory that refers to it could not be restored.",
            remedy="Close it, or keep such files in /dev/shm, which is memory; then take the snapshot again.",
        )
    if _FULL in stderr:
        return ResourceExhaustedError("The node's disk is too full for the sandbox's memory.", remedy="Free space on it, or add a node.")
    return RuntimeFailed(f"runsc checkpoint failed: {failure_text(b'', stderr.partition(_STACK)[0])}")


def failure_text(log: bytes, stderr: bytes) -> str:
    """Why a command failed: the warnings and errors of its JSON log, else the end of its stderr. At most MAX_FAILURE_TEXT characters."""
    messages: list[str] = []
    for line in log.splitlines()[-200:]:
        try:
            entry = msgspec.json.decode(line, type=_LogLine)
        except msgspec.DecodeError:
            continue
        if entry.level in ("warning", "error", "fatal"):
            messages.append(entry.msg)
    text = " | ".join(messages[-4:]) or stderr.decode("utf-8", "replace").strip() or "it said nothing"
    return text[-MAX_FAILURE_TEXT:]
