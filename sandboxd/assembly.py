"""What a sandbox owns outside the daemon's memory, as a protocol: made, reopened, killed and freed. Nothing here decides when."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final, Protocol

import msgspec

from cove.types import SandboxId
from policies.egress import EgressPolicy
from sandboxd.channel.link import Fifos
from sandboxd.journal import Entry
from sandboxd.memory.manifest import Manifest, SeenProcess
from sandboxd.memory.seen import Census
from sandboxd.runtime import Container

INIT_PATH: Final = "/.cove/init"
"""Where ``cove-init`` lies inside; a layer above the image brings it, so no image or snapshot can replace it."""


TMP_PLACEHOLDER: Final = "/tmp/.cove"
"""Of that layer, too: runsc would mount a tmpfs over an empty /tmp, whose files no snapshot of the file system would have. Guests remove
it."""


class Made(msgspec.Struct, frozen=True):
    """A container that runs, and how to talk to its guest."""

    container: Container
    fifos: Fifos
    image_env: Mapping[str, str]
    image_id: str
    state: Path | None = None
    """What the daemon knew of the sandbox whose memory this one goes on from; see ``memory.state``."""
    guest_layer: Path | None = None
    """The lower directory with ``cove-init`` that is mounted."""
    is_greeted: bool = False
    """Whether the guest serves already, under the marker that the entry has now; else it waits to be greeted."""


class MemoryOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A memory snapshot to be taken."""

    snapshot_id: str
    layer_id: str
    """What the sandbox's changes become, on top of the layers ``merge``."""
    merge: Sequence[str]


class Subject(Protocol):
    """A sandbox whose memory becomes a snapshot, as its actor knows it."""

    async def census(self) -> Census:
        """What is in it that was not started from outside. It runs."""
        ...

    async def save_state(self, target: Path) -> tuple[SeenProcess, ...]:
        """Write what the daemon knows of it into ``target``, which is made. It stands still.

        Returns: what runs. Raises: ConflictError: it has ended. OSError.
        """
        ...


class Assembly(Protocol):
    """Everything one sandbox owns outside the daemon's memory. ``HostAssembly`` is the real one, ``sim.assembly`` the simulated."""

    async def make(self, entry: Entry) -> Made:
        """Bring a container up to the point where its guest can be greeted.

        One that is paused goes on where it stood, over its own files.

        Raises: NotFoundError, InvalidError: the image. RuntimeFailed, OSError: ours. Whatever exists then is :meth:`free`'s to remove.
        """
        ...

    def reopen(self, sandbox_id: SandboxId) -> Fifos:
        """The FIFOs of a sandbox that another daemon made. Raises: OSError."""
        ...

    async def kill(self, sandbox_id: SandboxId) -> None:
        """Kill every process of the container, now. Nothing is freed."""
        ...

    def pausing(self, entry: Entry) -> AbstractAsyncContextManager[None]:
        """The sandbox stands still, and its memory and files are on disk, when the block is entered; it stays so, unless the block fails.

        Raises: ConflictError: something in there cannot be kept. ResourceExhaustedError: no room. RuntimeFailed, OSError. It goes on then.
        """
        ...

    async def dismantle(self, sandbox_id: SandboxId) -> None:
        """Remove everything of a paused sandbox but its files and its memory on disk. Idempotent. Raises: as :meth:`free`."""
        ...

    async def forget_memory(self, sandbox_id: SandboxId) -> None:
        """Remove from disk the memory of a sandbox that has been woken. Idempotent. Raises: OSError."""
        ...

    async def free(self, sandbox_id: SandboxId) -> None:
        """Remove everything of the sandbox. Idempotent.

        Raises: ExceptionGroup: what could not be removed; all the rest is gone, and calling again goes on.
        """
        ...

    async def freeze(self, sandbox_id: SandboxId) -> None:
        """Stop every process of the container, those of the runtime included; no one inside notices. Raises: Error, OSError."""
        ...

    async def thaw(self, sandbox_id: SandboxId) -> None:
        """Undo :meth:`freeze`. Idempotent; of a container that is gone, too."""
        ...

    async def quieten(self, running: Collection[SandboxId]) -> None:
        """Let those sandboxes cost less in which nothing has run since the last call. Raises: Error, OSError."""
        ...

    def stir(self, sandbox_id: SandboxId) -> None:
        """Something is about to run in there."""
        ...

    def rest(self, sandbox_id: SandboxId) -> None:
        """Nothing runs in there but the guest, and nothing will for a while."""
        ...

    async def repair(self) -> None:
        """Put back what all sandboxes stand on, should somebody have removed it, and clear away what died by itself. Raises: Error."""
        ...

    async def set_network(self, sandbox_id: SandboxId, policy: EgressPolicy) -> None:
        """Put ``policy`` in force for a container that runs; connections that it does not allow are cut when this returns. Idempotent.

        Raises: ConflictError: the container was made without a network. Error, OSError: ours.
        """
        ...

    def own_layers(self, entry: Entry) -> list[Path]:
        """Directories between the sandbox's image and its changes, the lowest first."""
        ...

    async def take_layer(self, entry: Entry, layer_id: str, merge: Sequence[str]) -> float:
        """Make the sandbox's changes, on top of the layers ``merge``, a layer of this node. Idempotent.

        Returns: seconds that the sandbox stood still. Raises: ConflictError: it has ended. NotFoundError: one of ``merge``. OSError.
        """
        ...

    async def take_memory(self, entry: Entry, order: MemoryOrder, subject: Subject) -> Manifest:
        """Make the sandbox's memory a snapshot of this node, and its changes a layer, as they are at one moment. Idempotent.

        Raises: ConflictError: it has ended. ResourceExhaustedError: no room. UnimplementedError: it cannot be kept. RuntimeFailed, OSError.
        """
        ...

    async def forget_builds(self, used: Collection[str]) -> None:
        """Remove builds of the runtime that nothing needs. Raises: OSError.

        Args:    used: those of sandboxes that have not ended.
        """
        ...

    async def owners(self) -> frozenset[SandboxId]:
        """Every sandbox of which anything exists, as the kernel and the directories tell."""
        ...
