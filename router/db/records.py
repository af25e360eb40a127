"""The rows of the database as frozen values. All times are Unix seconds, 0 where something has not happened. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Final

import msgspec

from cove.types import AppId, EndReason, ImageId, NodeId, SandboxId, TaskId


class SandboxState(IntEnum):
    """How far a sandbox is; the numbers are those of ``cove.v1.SandboxState`` and only ever grow for one sandbox."""

    PENDING = 1
    RUNNING = 2
    STOPPING = 3
    STOPPED = 4


LIVE_STATES: Final = frozenset({SandboxState.PENDING, SandboxState.RUNNING})
"""What users call a running sandbox: its end is not decided."""


class Observed(msgspec.Struct, frozen=True):
    """What the node last said about a sandbox."""

    state: SandboxState = SandboxState.PENDING
    started_at: float = 0
    expires_at: float = 0
    idle_since: float = 0
    reason: EndReason | None = None
    """How it ended; from STOPPING on."""
    exit_code: int = 0
    message: str = ""
    ended_at: float = 0
    paused_at: float = 0
    """While it is paused, which is a way of running: whatever needs it wakes it."""


class SandboxRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One sandbox: what was asked for, and in ``observed`` what became of it."""

    sandbox_id: SandboxId
    task_id: TaskId
    workspace: str
    environment: str
    app_id: AppId
    name: str
    """Empty: unnamed."""
    created_at: float
    node_id: NodeId
    """The only node that may run it."""
    image: str = ""
    """What it started from: an image id, ``debian:3.11`` or ``rootfs:/path``."""
    snapshot_id: str = ""
    """The memory snapshot that it was restored from; empty: it was created afresh."""
    terminate_asked_at: float = 0
    observed: Observed = Observed()
    tags: Mapping[str, str] = {}

    @property
    def is_live(self) -> bool:
        """Whether users would call it running."""
        return self.observed.state in LIVE_STATES

    @property
    def is_stopped(self) -> bool:
        """Whether nothing of it is left but records and spools."""
        return self.observed.state is SandboxState.STOPPED


class LayerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One layer of images: where it is."""

    layer_id: str
    source: str
    """``build``, ``snapshot`` or ``registry``."""
    node_id: NodeId
    """Where it was made; empty: came from a registry."""
    digest: str = ""
    """Of its archive in the store; empty: not there yet."""
    diff_id: str = ""
    size_bytes: int = 0
    created_at: float


class ImageRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One image."""

    image_id: ImageId
    workspace: str
    source: str
    """``build``, ``snapshot`` or ``registry``."""
    description: str
    parent_image_id: str = ""
    sandbox_id: str = ""
    base: str = ""
    """What every node makes itself, ``debian:3.11``; empty: the layers are all there is."""
    config: bytes = b""
    """``cove.v1.ImageConfig``."""
    created_at: float
    layers: tuple[LayerRecord, ...] = ()
    """The lowest first."""

    @property
    def is_stored(self) -> bool:
        """Whether the store has every layer."""
        return all(layer.digest for layer in self.layers)


class Claim(msgspec.Struct, frozen=True):
    """An idempotency key in use: the request it came with (sha256) and the sandbox that answers it."""

    workspace: str
    key: str
    request_hash: bytes
    sandbox_id: SandboxId
    created_at: float


class SandboxQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which sandboxes to list, newest first."""

    workspace: str
    environment: str
    app_id: AppId | None = None
    tags: Mapping[str, str] = {}
    include_stopped: bool = False
    """Otherwise live ones only."""
    after: tuple[float, str] | None = None
    """``created_at`` and id of the last one already seen."""
    limit: int = 100


class AppRecord(msgspec.Struct, frozen=True):
    """One App: a namespace for sandbox names."""

    app_id: AppId
    workspace: str
    environment: str
    name: str
    created_at: float


class TerminalRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A process on a terminal that a browser may attach to, and what opens it. Secrets are kept as hashes only."""

    terminal_id: str
    sandbox_id: SandboxId
    token_id: str
    """The API token that asked for it; when that is revoked, this ends."""
    exec_id: str
    request: bytes
    """``cove.v1.TerminalCreateRequest``."""
    ticket_hash: bytes
    """Of the one-time token; empty: it was used."""
    ticket_expires_at: float
    created_at: float
    expires_at: float
    session_hash: bytes = b""
    """Of the cookie that the one-time token was exchanged for."""
    used_at: float = 0
    """When a browser last attached, or bytes last went through."""
    started_at: float = 0
    """When the process was started, which happens once."""


class TokenRecord(msgspec.Struct, frozen=True):
    """One API token, without its secret."""

    token_id: str
    workspace: str
    name: str
    secret_hash: bytes
    created_at: float
    last_used_at: float = 0
    revoked_at: float = 0


class Capacity(msgspec.Struct, frozen=True):
    """Amounts that placement counts: what a node has, what is reserved on it, or what a sandbox requests."""

    cpu_millis: int = 0
    memory_bytes: int = 0

    def __add__(self, other: Capacity) -> Capacity:
        return Capacity(self.cpu_millis + other.cpu_millis, self.memory_bytes + other.memory_bytes)

    def __sub__(self, other: Capacity) -> Capacity:
        return Capacity(self.cpu_millis - other.cpu_millis, self.memory_bytes - other.memory_bytes)

    def covers(self, other: Capacity) -> bool:
        """Whether ``other`` fits into this."""
        return self.cpu_millis >= other.cpu_millis and self.memory_bytes >= other.memory_bytes


class NodeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One node as it registered, and what it last reported of itself."""

    node_id: NodeId
    grpc_address: str
    http_url: str
    capacity: Capacity
    version: str
    runsc_version: str
    runsc_builds: tuple[str, ...] = ()
    debian_pythons: tuple[str, ...]
    proxies: tuple[str, ...]
    session_hash: bytes
    registered_at: float
    last_seen_at: float
    reserved: Capacity = Capacity()
    draining: bool = False
