"""How a sandbox's end is told to the caller of ``wait``. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from cove.exception import (
    Error,
    InternalFailure,
    RemoteError,
    SandboxOutOfMemoryError,
    SandboxTerminatedError,
    SandboxTimeoutError,
)
from cove.wire import common_pb2


class Ending(NamedTuple):
    """The error for an end that is one, with the text for a server that sent none."""

    error: type[Error]
    text: str
    remedy: str = ""


ENDINGS: Final[Mapping[common_pb2.EndReason, Ending]] = {
    common_pb2.END_REASON_TERMINATED: Ending(SandboxTerminatedError, "The sandbox was terminated."),
    common_pb2.END_REASON_TIMEOUT: Ending(
        SandboxTimeoutError, "The sandbox reached the end of its lifetime.", "Create it with a longer `timeout`."
    ),
    common_pb2.END_REASON_IDLE_TIMEOUT: Ending(
        SandboxTimeoutError, "The sandbox was idle for its idle timeout.", "Create it with a longer `idle_timeout`."
    ),
    common_pb2.END_REASON_OUT_OF_MEMORY: Ending(
        SandboxOutOfMemoryError, "The sandbox reached its memory limit.", "Create it with a higher `memory` limit."
    ),
    common_pb2.END_REASON_INIT_FAILURE: Ending(RemoteError, "The sandbox did not come up."),
    common_pb2.END_REASON_INTERNAL_FAILURE: Ending(InternalFailure, "The sandbox was lost.", "Create another one."),
}
"""Ends that ``wait`` raises; the others (success, failure of the main process) are results."""


def error_of(result: common_pb2.SandboxResult, sandbox_id: str) -> Error | None:
    """The error that ``result`` means, None if the main process simply ended."""
    ending = ENDINGS.get(result.reason)
    if ending is None:
        return None
    return ending.error(
        result.message or ending.text,
        remedy="" if result.message else ending.remedy,
        context={"sandbox_id": sandbox_id, "returncode": str(result.exit_code)},
    )
