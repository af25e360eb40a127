"""The environment of a sandbox's processes: the image's, the caller's, and what cove itself sets. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from cove.types import SandboxId, TaskId

RESERVED: Final = frozenset({"COVE_SANDBOX_ID", "COVE_TASK_ID", "COVE_IMAGE_ID", "COVE_CLOUD_PROVIDER", "COVE_REGION"})
"""Variables that user configuration cannot override."""

THREADS: Final = ("MKL_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""How linear algebra libraries are told how many threads to start; by default one for each core of the machine."""

TERMINAL: Final = {"TERM": "xterm-256color"}
"""Where a process gets a terminal and nobody named its kind."""


def sandbox_environment(
    image: Mapping[str, str], caller: Mapping[str, str], *, sandbox_id: SandboxId, task_id: TaskId, image_id: str, cpu_request_millis: int
) -> dict[str, str]:
    """What every process of a sandbox starts from. Later parts win: image, threads for the cores reserved, caller, reserved.

    A share of a core (the default reservation) says nothing about threads: those variables stay unset then. nproc(1) obeys one of them.
    """
    threads = dict.fromkeys(THREADS, str(cpu_request_millis // 1000)) if cpu_request_millis >= 1000 else {}
    reserved = {
        "COVE_SANDBOX_ID": sandbox_id,
        "COVE_TASK_ID": task_id,
        "COVE_IMAGE_ID": image_id,
        "COVE_CLOUD_PROVIDER": "self-hosted",
        "COVE_REGION": "local",
    }
    return {**image, **threads, **caller, **reserved}


def process_environment(sandbox: Mapping[str, str], caller: Mapping[str, str], *, terminal: bool) -> dict[str, str]:
    """What one process gets on top of its sandbox's environment."""
    own = {key: value for key, value in caller.items() if key not in RESERVED}
    return {**(TERMINAL if terminal else {}), **sandbox, **own}
