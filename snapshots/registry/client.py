"""The client of one registry: what a reference stands for, and the blobs behind it. Pushing is in ``push``.

A client is bound to one registry and one pair of credentials; a reference to another registry is refused, so credentials cannot go astray.
Mirrors that the operator named are tried first, without credentials.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from typing import Final

import msgspec
import structlog

from cove.exception import DataLossError, Error, InvalidError
from snapshots.concurrency import run_bounded
from snapshots.digest import Digest, digest_of, parse_digest
from snapshots.registry.auth import Authenticator
from snapshots.registry.blobs import MIRROR_ATTEMPTS, BlobReader
from snapshots.registry.credentials import Credentials
from snapshots.registry.descriptor import INDEXES, MANIFESTS, Descriptor
from snapshots.registry.endpoints import endpoints
from snapshots.registry.image_config import ImageConfig, parse_config
from snapshots.registry.manifest import MAX_DOCUMENT_BYTES, Index, Manifest, parse_document
from snapshots.registry.network import Network
from snapshots.registry.platforms import Platform, choose, machine_platform
from snapshots.registry.reference import Reference, parse_registry
from snapshots.registry.retry import Retry, Sleep
from snapshots.registry.settings import RegistrySettings
from snapshots.registry.transport import Request, Transport

log = structlog.get_logger()

MAX_INDEX_DEPTH: Final = 3
"""Indexes may name indexes; real ones do so once."""

ACCEPT: Final = ", ".join(sorted(INDEXES | MANIFESTS))

Sink = Callable[[Descriptor, AsyncIterator[bytes]], Awaitable[None]]
"""Takes one blob. It keeps nothing unless the iterator ends without an error, and may be called again for the same blob."""


class ResolvedImage(msgspec.Struct, frozen=True):
    """What a reference stood for when it was asked."""

    digest: Digest
    """Of what the reference names, which can be an index; ``repository@digest`` names the same for ever."""
    manifest_digest: Digest
    """Of the image for the platform; the same as ``digest`` where there is no index."""
    config: ImageConfig
    config_descriptor: Descriptor
    layers: tuple[Descriptor, ...]
    """Bottom first; as many as ``config.diff_ids``."""

    @property
    def size_bytes(self) -> int:
        """What is to be downloaded; a layer that occurs many times counts once."""
        return sum({layer.digest: layer.size_bytes for layer in self.layers}.values())


class RegistryClient:
    """``async with``. Made and used in one event loop; safe for concurrent use there."""

    def __init__(
        self,
        registry: str,
        credentials: Credentials | None = None,
        *,
        settings: RegistrySettings | None = None,
        network: Network | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """
        Args:
            registry: as in :attr:`Reference.registry`.
            network: shared with other clients and closed by its owner; the client's own when left out.
            sleep: waits between tries.
        Raises:
            InvalidError: ``registry`` is not one.
        """
        self.registry = parse_registry(registry)
        self.settings = settings or RegistrySettings()
        self.sleep = sleep
        shared = network or Network(self.settings)
        self._owned = None if network else shared
        self._transports = [
            Transport(endpoint, Authenticator(endpoint, credentials, shared, self.settings), shared, self.settings)
            for endpoint in endpoints(self.registry, self.settings)
        ]

    async def __aenter__(self) -> RegistryClient:
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._owned is not None:
            await self._owned.session.close()

    @property
    def origin(self) -> Transport:
        """The registry itself, not a mirror."""
        return self._transports[-1]

    async def resolve(self, reference: Reference, platform: Platform | None = None) -> ResolvedImage:
        """The image for ``platform`` (this machine's when left out); its config is read and verified, its layers are not.

        Raises:
            NotFoundError: no such repository, tag or digest.
            InvalidError: it is no image, malformed, or not made for ``platform``.
            UnimplementedError: an image in a form that cove cannot use.
            DataLossError: a digest is wrong.
            AuthError, PermissionDeniedError, ConnectionError, ResourceExhaustedError, ServiceError: the registry refused or failed.
        """
        self.check(reference)
        platform = platform or machine_platform()
        digest, document = await self._document(reference, reference.target, reference.digest)
        manifest_digest = digest
        for _ in range(MAX_INDEX_DEPTH):
            if isinstance(document, Manifest):
                return await self._resolved(reference, platform, digest, manifest_digest, document)
            entry = document.entries[choose(platform, [entry.platform for entry in document.entries])].descriptor
            manifest_digest, document = await self._document(reference, entry.digest, entry.digest)
        raise InvalidError(f"{reference} is an index of indexes of indexes.", remedy="Name an image in it by its digest.")

    async def read_blob(self, reference: Reference, descriptor: Descriptor) -> AsyncGenerator[bytes, None]:
        """The blob in pieces; see :meth:`BlobReader.chunks` for what is promised, and raised.

        A ``DataLossError`` is retryable where a mirror was the source: that one is not asked again.
        """
        self.check(reference)
        reader = BlobReader(list(self._transports), reference.repository, descriptor, self.settings, self.sleep)
        try:
            async with aclosing(reader.chunks()) as chunks:
                async for chunk in chunks:
                    yield chunk
        except DataLossError as error:
            error.retryable = self._distrust(reader.sources)
            raise

    async def download(self, reference: Reference, descriptors: Iterable[Descriptor], sink: Sink, parallel: int = 4) -> None:
        """Give each blob once to ``sink``, ``parallel`` of them at a time. The first error ends all.

        Raises:  what :meth:`read_blob` and ``sink`` raise.
        """

        async def one(descriptor: Descriptor) -> None:
            for _ in self._transports:
                try:
                    async with aclosing(self.read_blob(reference, descriptor)) as chunks:
                        return await sink(descriptor, chunks)
                except DataLossError as error:
                    if not error.retryable:
                        raise
            raise DataLossError(f"No source has an undamaged {descriptor.digest}.")

        await run_bounded((one(descriptor) for descriptor in dict.fromkeys(descriptors)), parallel)

    def check(self, reference: Reference) -> None:
        """Raises:  InvalidError: ``reference`` is to another registry than this client's."""
        if reference.registry != self.registry:
            raise InvalidError(f"{reference} is not at {self.registry}.", remedy="Use a client for its registry.")

    async def _document(self, reference: Reference, target: str, expect: Digest | None) -> tuple[Digest, Manifest | Index]:
        """From the first place that has it, and whose answer is right."""
        for transport in self._transports[:-1]:
            try:
                return await self._document_from(transport, reference, target, expect)
            except Error as error:
                log.info("mirror skipped", mirror=transport.endpoint.shown, what=str(reference), error=error.code)
        return await self._document_from(self.origin, reference, target, expect)

    async def _document_from(
        self, transport: Transport, reference: Reference, target: str, expect: Digest | None
    ) -> tuple[Digest, Manifest | Index]:
        repository = reference.repository
        request = Request(
            method="GET",
            path=f"{repository}/manifests/{target}",
            scope=f"repository:{repository}:pull",
            what=f"the manifest of {reference}",
            headers={"Accept": ACCEPT},
        )
        data, headers = await self._read(transport, request, MAX_DOCUMENT_BYTES)
        digest = digest_of(data)
        if digest != (expect or _declared_digest(headers) or digest):
            raise DataLossError(f"The manifest of {reference} has another digest than it should: {digest}.")
        return digest, parse_document(data, headers.get("Content-Type"))

    async def _read(self, transport: Transport, request: Request, max_bytes: int) -> tuple[bytes, Mapping[str, str]]:
        attempts = MIRROR_ATTEMPTS if transport.endpoint.is_mirror else None
        retry = Retry(self.settings, sleep=self.sleep, attempts=attempts)
        while True:
            try:
                return await transport.document(request, max_bytes)
            except Error as error:
                await retry.after(error)

    async def _resolved(
        self, reference: Reference, platform: Platform, digest: Digest, manifest_digest: Digest, manifest: Manifest
    ) -> ResolvedImage:
        async with aclosing(self.read_blob(reference, manifest.config)) as chunks:
            data = b"".join([chunk async for chunk in chunks])
        config = parse_config(data, len(manifest.layers))
        if not platform.runs(config.platform):
            made_for = str(config.platform)[:80]
            raise InvalidError(f"{reference} is made for {made_for}, not for {platform}.", remedy="Choose an image made for this platform.")
        return ResolvedImage(digest, manifest_digest, config, manifest.config, manifest.layers)

    def _distrust(self, sources: Iterable[Transport]) -> bool:
        """Ask the mirrors among ``sources`` for nothing more. Returns whether there were any."""
        mirrors = [source for source in sources if source.endpoint.is_mirror]
        self._transports = [transport for transport in self._transports if transport not in mirrors]
        return bool(mirrors)


def _declared_digest(headers: Mapping[str, str]) -> Digest | None:
    """Of a manifest asked for by its tag, so that damage on the way is seen. Other algorithms are not ours to check."""
    try:
        return parse_digest(headers.get("Docker-Content-Digest", ""))
    except InvalidError:
        return None
