"""gVisor of before 2024-07-31 refuses to start with a network on newer kernels; this makes it.

It takes a network namespace in which ``/proc/sys/net/core/rmem_default`` exists for the host's and gives up: "cannot run with network
enabled in root network namespace". Kernels since 6.15 or so have that file in every namespace. So ``runsc start`` runs inside the sandbox's
namespace, in a mount namespace of its own where an empty file system hides the directory. Fixed releases do not mind.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Final

from sandboxd import kernel

_HIDDEN: Final = Path("/proc/sys/net/core")
_SCRIPT: Final = f'mount -t tmpfs -o size=4k cove {_HIDDEN} && exec "$@"'


@functools.cache
def needs_start_workaround() -> bool:
    """Whether this kernel shows the file in a fresh network namespace. Half a millisecond, once."""
    with kernel.new_netns():
        return (_HIDDEN / "rmem_default").exists()


def start_prefix(netns_path: Path) -> list[str]:
    """argv to put before ``runsc start`` for a sandbox in ``netns_path``; empty where the kernel does not need it.

    Costs some 6 ms: nsenter, unshare and sh replace each other in one process, mount is a second one.
    """
    if not needs_start_workaround():
        return []
    return ["nsenter", f"--net={netns_path}", "unshare", "--mount", "--propagation=slave", "sh", "-c", _SCRIPT, "sh"]
