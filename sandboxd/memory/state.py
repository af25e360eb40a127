"""What the daemon knows of a sandbox that goes with its memory: records and output of its processes, and what is as secret as the memory.

``state/`` of a snapshot's directory: ``execs.log`` and ``output/`` as in the journal, and ``private.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from cove.exception import DataLossError
from sandboxd.journal import Entry, SandboxDirectory
from sandboxd.memory.reading import read_small

_PRIVATE: Final = "private.json"
_MAX_BYTES: Final = 16 * 2**20
"""Far above what commands and environments can be."""


class Private(msgspec.Struct, frozen=True, kw_only=True):
    """What a restored sandbox needs, and nobody else may know."""

    guest_marker: str
    command: list[bytes]
    pty: bool
    workdir: str
    env: Mapping[str, str]
    """Of processes that are started from now on."""


def save_state(journal: SandboxDirectory, target: Path, entry: Entry, env: Mapping[str, str]) -> None:
    """Copy records and output into ``target``, which is made. Blocking; nothing may be written to them meanwhile. Raises: OSError."""
    target.mkdir(mode=0o700)
    journal.copy_processes(target)
    private = Private(guest_marker=entry.guest_marker, command=entry.command, pty=entry.pty, workdir=entry.workdir, env=env)
    (target / _PRIVATE).write_bytes(msgspec.json.encode(private))


def load_state(source: Path, journal: SandboxDirectory) -> Private:
    """Give a new sandbox the records and the output. Blocking. Raises: DataLossError, OSError."""
    try:
        private = msgspec.json.decode(read_small(source / _PRIVATE, _MAX_BYTES), type=Private)
    except (FileNotFoundError, msgspec.MsgspecError) as error:
        raise DataLossError("The snapshot is damaged: what the daemon knew of its sandbox is missing.", remedy="Take another.") from error
    journal.take_processes(source)
    return private
