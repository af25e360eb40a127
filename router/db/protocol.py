"""What every database backend offers: one store per aggregate, every method durable when it returns.

Methods are transactions of their own. Callers hold no SQL, and nothing here depends on a dialect: ``tests/conformance`` runs one suite
over every backend.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from cove.exception import AlreadyExistsError
from cove.types import AppId, NodeId, SandboxId
from router.db.ingress import ConnectTokenStore, EntranceRecord, EntranceStore
from router.db.records import (
    AppRecord,
    Capacity,
    Claim,
    ImageRecord,
    LayerRecord,
    NodeRecord,
    Observed,
    SandboxQuery,
    SandboxRecord,
    TerminalRecord,
    TokenRecord,
)
from router.db.snapshots import SnapshotStore


class SandboxIdTaken(AlreadyExistsError):
    """Another sandbox has the id: whoever chose it chooses another."""


class TokenStore(Protocol):
    """API tokens."""

    async def add(self, token: TokenRecord) -> None:
        """Store a token whose id is new."""

    async def get(self, token_id: str) -> TokenRecord | None:
        """The token, revoked or not."""

    async def list_(self, workspace: str) -> list[TokenRecord]:
        """All tokens of ``workspace``, oldest first."""

    async def revoke(self, workspace: str, token_id: str, at: float) -> bool:
        """Revoke it; a second time changes nothing. False: ``workspace`` has no such token."""

    async def touch(self, used_at: Mapping[str, float]) -> None:
        """Move ``last_used_at`` forward for each token id."""

    async def any_active(self) -> bool:
        """Whether anybody can still log in."""


class AppStore(Protocol):
    """Apps."""

    async def ensure(self, app: AppRecord) -> AppRecord:
        """The App with this workspace, environment and name: the one that was there, or ``app``."""

    async def get(self, app_id: AppId) -> AppRecord | None:
        """By id."""

    async def find(self, workspace: str, environment: str, name: str) -> AppRecord | None:
        """By name."""


class SandboxStore(Protocol):
    """Sandboxes with their tags and the idempotency keys that made them."""

    async def reserve(self, sandbox: SandboxRecord, claim: Claim, entrances: Sequence[EntranceRecord] = ()) -> Claim:
        """Store all, or nothing if the claim's key is in use.

        Returns: ``claim``, or the earlier one with its key.
        Raises:
            SandboxIdTaken: of another sandbox, stopped or not.
            AlreadyExistsError: the App has another sandbox of this name that is not stopped.
            NotFoundError: the snapshot that it is restored from was deleted.
        """

    async def move(self, sandbox_id: SandboxId, *, source: NodeId, target: NodeId) -> bool:
        """Give a pending sandbox of node ``source`` to ``target``. False: it is not pending there."""

    async def discard(self, sandbox_id: SandboxId) -> bool:
        """Forget a pending sandbox and its idempotency key as if they had never been. False: it is not pending (any more)."""

    async def get(self, sandbox_id: SandboxId) -> SandboxRecord | None:
        """By id."""

    async def find_live(self, app_id: AppId, name: str) -> SandboxRecord | None:
        """The live sandbox of this name."""

    async def list_(self, query: SandboxQuery) -> list[SandboxRecord]:
        """At most ``query.limit``, newest first; ids break ties."""

    async def replace_tags(self, sandbox_id: SandboxId, tags: Mapping[str, str]) -> None:
        """Make ``tags`` the whole set."""

    async def observe(self, node_id: NodeId, seen: Mapping[SandboxId, Observed]) -> frozenset[SandboxId]:
        """Store what ``node_id`` says, in one transaction.

        States only grow: what contradicts that, concerns a sandbox of another node or changes nothing, is left out.
        Returns: the sandboxes that changed.
        """

    async def ask_terminate(self, sandbox_id: SandboxId, at: float) -> None:
        """Record the intent that it shall end; a no-op if stopped or asked already."""

    async def terminating(self, limit: int) -> list[SandboxRecord]:
        """Sandboxes that shall end and have not stopped, longest asked first."""

    async def unstopped_on(self, node_id: NodeId) -> list[SandboxRecord]:
        """Every sandbox of a node that has not stopped."""

    async def count_unstopped(self) -> Mapping[NodeId, int]:
        """How many sandboxes each node has that have not stopped; nodes without any are left out."""

    async def purge(self, ended_before: float, limit: int) -> int:
        """Delete up to ``limit`` sandboxes that ended before; returns how many."""


class IdempotencyStore(Protocol):
    """Idempotency keys; :meth:`SandboxStore.reserve` writes them."""

    async def get(self, workspace: str, key: str) -> Claim | None:
        """The claim on a key."""

    async def purge(self, created_before: float, limit: int) -> int:
        """Delete up to ``limit`` older claims; returns how many."""


class ImageStore(Protocol):
    """Images, their layers, and the keys under which they are found again."""

    async def add(self, image: ImageRecord, key: bytes = b"", *, replace: bool = False) -> ImageRecord:
        """Store an image with layers that may be known already, and the key, in one transaction.

        Args:    key: empty: none. replace: what the key named before is found under it no longer.
        Returns: ``image``; without ``replace``, the image that the key names already, and then nothing is stored.
        """

    async def get(self, image_id: str) -> ImageRecord | None:
        """With its layers."""

    async def find(self, workspace: str, key: bytes) -> ImageRecord | None:
        """The image that a key names."""

    async def list_(self, workspace: str, *, after: tuple[float, str] | None, limit: int) -> list[ImageRecord]:
        """Newest first; ids break ties. ``after``: ``created_at`` and id of the last one already seen."""

    async def keyless(self, workspace: str, created_before: float) -> list[ImageRecord]:
        """Images that no key names, oldest first; some thousands at most."""

    async def delete(self, image_id: str) -> bool:
        """Forget an image and its keys; layers stay for :meth:`unused_layers`.

        Returns: False: there is none, sandboxes run on it, or it has the files of a memory snapshot.
        """

    async def drop_keys(self, workspace: str, keys: Sequence[bytes]) -> None:
        """Make these keys name nothing."""

    async def layer_stored(self, layer_id: str, *, digest: str, diff_id: str, size_bytes: int) -> None:
        """The store has the layer now."""

    async def unstored_layers(self, limit: int) -> list[LayerRecord]:
        """Layers of images that the store does not have, oldest first."""

    async def has_layer(self, layer_id: str) -> bool:
        """Whether it is known."""

    async def unused_layers(self, created_before: float, limit: int) -> list[LayerRecord]:
        """Layers that no image has."""

    async def forget_layer(self, layer_id: str) -> bool:
        """Delete a layer that no image has. False: one has it."""

    async def digests(self) -> set[str]:
        """Of all layers' archives."""

    async def used_by(self, image_id: str) -> int:
        """How many sandboxes that have not stopped started from it."""


class NodeStore(Protocol):
    """Nodes."""

    async def put(self, node: NodeRecord) -> None:
        """Store a registration, replacing the node's earlier one."""

    async def list_(self) -> list[NodeRecord]:
        """All nodes that ever registered."""

    async def seen(self, node_id: NodeId, at: float, *, reserved: Capacity, draining: bool) -> None:
        """Store what a heartbeat says; a no-op for an unknown node."""


class TerminalStore(Protocol):
    """Terminals for web browsers."""

    async def add(self, terminal: TerminalRecord) -> None:
        """Store one whose id is new."""

    async def get(self, terminal_id: str) -> TerminalRecord | None:
        """By id."""

    async def count(self, sandbox_id: SandboxId) -> int:
        """How many a sandbox has."""

    async def redeem(self, terminal_id: str, ticket_hash: bytes, session_hash: bytes, at: float) -> bool:
        """Exchange a one-time token that is good at ``at`` for a session. False: it is not, or not any more; of two at once one wins."""

    async def started(self, terminal_id: str, at: float) -> None:
        """The process was started."""

    async def touch(self, used_at: Mapping[str, float]) -> None:
        """Move ``used_at`` forward for each terminal id."""

    async def over(self, now: float, *, used_before: float, limit: int) -> list[TerminalRecord]:
        """Those that ended: by age, unused since ``used_before``, never opened in time, or with an API token that was revoked."""

    async def delete(self, terminal_id: str) -> None:
        """Forget it; a no-op if it is not there."""


class Database(Protocol):
    """All stores of one database."""

    @property
    def tokens(self) -> TokenStore: ...
    @property
    def apps(self) -> AppStore: ...
    @property
    def sandboxes(self) -> SandboxStore: ...
    @property
    def nodes(self) -> NodeStore: ...
    @property
    def images(self) -> ImageStore: ...
    @property
    def snapshots(self) -> SnapshotStore: ...
    @property
    def terminals(self) -> TerminalStore: ...
    @property
    def entrances(self) -> EntranceStore: ...
    @property
    def connect_tokens(self) -> ConnectTokenStore: ...
    @property
    def idempotency(self) -> IdempotencyStore: ...

    def pending_writes(self) -> int:
        """How many writes wait for their transaction."""
