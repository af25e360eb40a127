"""What goes from a sandbox to those that go on from its memory: written beside it, and taken over by them."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

from cove.types import SandboxId
from sandboxd.assembly import TMP_PLACEHOLDER
from sandboxd.channel.client import Guest
from sandboxd.channel.fields import Writer
from sandboxd.channel.messages import Op
from sandboxd.channel.streams import GuestError
from sandboxd.journal import Entry, SandboxDirectory
from sandboxd.memory.manifest import SeenProcess, program_of
from sandboxd.memory.state import Private, load_state, save_state
from sandboxd.naming import hostname
from sandboxd.processes import ProcessTable
from snapshots.backends.threads import in_thread


async def leave_behind(
    target: Path, guest: Guest, processes: ProcessTable, journal: SandboxDirectory, entry: Entry, env: Mapping[str, str]
) -> tuple[SeenProcess, ...]:
    """Write what the daemon knows of a sandbox that stands still into ``target``, which is made.

    Returns: what runs. Raises: OSError.
    """
    with guest.held():
        await in_thread(save_state, journal, target, entry, env)
        live = [process for process in processes if process.live]
    return tuple(
        SeenProcess(exec_id=process.exec_id, pid=process.pid, pty=process.started.pty, program=program_of(process.started.argv))
        for process in live
    )


async def take_over(state: Path, processes: ProcessTable, journal: SandboxDirectory, entry: Entry) -> Private:
    """Give a new sandbox what belongs to the memory that it goes on from. Raises: DataLossError, OSError."""
    private = await in_thread(load_state, state, journal)
    entry.guest_marker, entry.command, entry.pty, entry.workdir = private.guest_marker, private.command, private.pty, private.workdir
    processes.load()
    return private


async def greet(guest: Guest, processes: ProcessTable, sandbox_id: SandboxId) -> None:
    """Greet a guest that was frozen as another sandbox's. Raises: GuestError, StreamCut."""
    processes.adopt(guest, await guest.reset())
    await guest.call(Op.SET_HOSTNAME, Writer().text(hostname(sandbox_id)))
    with contextlib.suppress(GuestError):  # a guest that boots does this itself; see its main
        await guest.call(Op.REMOVE, Writer().text(TMP_PLACEHOLDER).u8(0))
