"""Bases from registries: their layers go to the store as they are, and the image is known by its reference."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final

from cove.exception import InvalidError
from cove.types import ImageId, NodeId, derived_id, new_id
from cove.wire import image_pb2
from router.db.protocol import Database
from router.db.records import ImageRecord, LayerRecord
from snapshots.digest import Digest
from snapshots.lease import Leases
from snapshots.registry.client import RegistryClient, ResolvedImage
from snapshots.registry.cloud import credentials_from_secret
from snapshots.registry.credentials import CredentialKind, Credentials
from snapshots.registry.descriptor import Descriptor
from snapshots.registry.network import Network, check_elsewhere
from snapshots.registry.reference import parse_reference
from snapshots.registry.settings import RegistrySettings
from snapshots.store import Store

Say = Callable[[str], None]

LEASE_S: Final = 6 * 3600.0
"""Longer than any pull takes."""


_KINDS: Final[Mapping[str, CredentialKind]] = {"": "registry", "ecr": "aws_ecr", "gcp": "gcp_artifact_registry"}


def check_kind(image: image_pb2.RegistryImage) -> None:
    """Pass if there is such a kind of registry. Raises: InvalidError."""
    if image.kind not in _KINDS:
        raise InvalidError(f"{image.kind[:80]!r} is no kind of registry.")


async def credentials_of(
    image: image_pb2.RegistryImage, registry: str, network: Network, settings: RegistrySettings, *, workspace: str
) -> Credentials | None:
    """What the image's secret gives for the registry; None: no secret. Raises: InvalidError; as ``credentials_from_secret``."""
    check_kind(image)
    if not image.secret:
        return None
    kind = _KINDS[image.kind]
    return await credentials_from_secret(dict(image.secret), kind, registry=registry, network=network, settings=settings, session=workspace)


class Pulls:
    """One instance per router."""

    def __init__(self, db: Database, store: Store, settings: RegistrySettings, *, loopback: bool, clock: Callable[[], float]) -> None:
        """``loopback``: whether references may name this machine."""
        self._db, self._store, self._settings, self._loopback, self._clock = db, store, settings, loopback, clock

    async def pull(self, workspace: str, image: image_pb2.RegistryImage, key: bytes, say: Say, *, replace: bool) -> ImageRecord:
        """The image that a reference names now, as a record under ``key``.

        Raises:
            InvalidError: the reference, or what the registry answers, is malformed. NotFoundError: there is no such image.
            AuthError, PermissionDeniedError: the secret is wrong or missing. ConnectionError, DataLossError: trying again can help.
        """
        reference = parse_reference(image.reference)
        check_elsewhere(reference.registry, self._settings, loopback=self._loopback)
        async with Network(self._settings) as network:
            credentials = await credentials_of(image, reference.registry, network, self._settings, workspace=workspace)
            async with RegistryClient(reference.registry, credentials, settings=self._settings, network=network) as client:
                say(f"FROM {reference}")
                resolved = await client.resolve(reference)
                say(f"{reference} is {resolved.digest}, {len(resolved.layers)} layers, {resolved.size_bytes / 1e6:.1f} MB")
                # Leased first, looked for then: what is there stays until the image's record names it.
                async with Leases(self._store.backend).hold("pull", {Digest(layer.digest) for layer in resolved.layers}, ttl_s=LEASE_S):
                    missing = [layer for layer in resolved.layers if not await self._store.has(Digest(layer.digest))]
                    await client.download(reference, missing, self._keep)
                    return await self._db.images.add(self._record(workspace, str(reference), resolved), key, replace=replace)

    async def _keep(self, descriptor: Descriptor, chunks: AsyncIterator[bytes]) -> None:
        await self._store.put(chunks, max_bytes=descriptor.size_bytes, expect=Digest(descriptor.digest))

    def _record(self, workspace: str, reference: str, resolved: ResolvedImage) -> ImageRecord:
        now, told = self._clock(), resolved.config
        config = image_pb2.ImageConfig(
            env=dict(pair.split("=", 1) for pair in told.env if "=" in pair),
            workdir=told.workdir,
            user=told.user,
            entrypoint=told.entrypoint,
            cmd=told.cmd,
            shell=told.shell,
            labels=told.labels,
            exposed_ports=told.exposed_ports,
        )
        layers = [
            LayerRecord(
                # With the diff id, which the image claims: one that lies must not be believed for others with the same archive.
                layer_id=derived_id("ly", b"registry", layer.digest.encode(), diff_id.encode()),
                source="registry",
                node_id=NodeId(""),
                digest=layer.digest,
                diff_id=diff_id,
                size_bytes=layer.size_bytes,
                created_at=now,
            )
            for layer, diff_id in zip(resolved.layers, told.diff_ids, strict=True)
        ]
        return ImageRecord(
            image_id=ImageId(new_id("im")),
            workspace=workspace,
            source="registry",
            description=f"{reference} ({resolved.digest})",
            config=config.SerializeToString(deterministic=True),
            created_at=now,
            layers=tuple(layers),
        )
