"""What runsc says: state, lists and failures. Pure; runsc is trusted, its shape is still checked."""

from __future__ import annotations

from typing import Final

import msgspec

from sandboxd.runtime import ContainerStatus

MAX_FAILURE_TEXT: Final = 800


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
