"""Pushing an image: its blobs, unless the registry has them, then its manifest, which makes it visible."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Final

import msgspec
from yarl import URL

from cove.exception import ConnectionError, DataLossError, Error, InvalidError
from snapshots.concurrency import run_bounded
from snapshots.digest import Digest, Hasher, digest_of
from snapshots.registry.client import RegistryClient
from snapshots.registry.descriptor import OCI_MANIFEST, Descriptor
from snapshots.registry.endpoints import follow
from snapshots.registry.image_config import parse_config
from snapshots.registry.manifest import config_descriptor, encode_manifest
from snapshots.registry.reference import Reference, check_repository
from snapshots.registry.retry import Retry
from snapshots.registry.settings import RegistrySettings
from snapshots.registry.transport import Request

PIECE_BYTES: Final = 256 << 10
_BINARY: Final = "application/octet-stream"


class LayerSource(msgspec.Struct, frozen=True):
    """A layer to push."""

    descriptor: Descriptor
    open: Callable[[], AsyncGenerator[bytes, None]]
    """Makes a new stream of the blob, for each try."""
    mount_from: str | None = None
    """Another repository of the registry that probably has it: nothing need be sent then."""


async def push(client: RegistryClient, reference: Reference, config: bytes, layers: Sequence[LayerSource], parallel: int = 4) -> Digest:
    """Store an image under ``reference``. On an error the tag means what it did before; blobs sent so far stay for the next try.

    Args:    config: the image's config, as ``encode_config`` makes it.
    Returns: the digest of its manifest.
    Raises:
        InvalidError: the config does not fit the layers, or ``reference`` names a digest that the image does not have.
        DataLossError: a layer's stream is not what its descriptor says, or the registry stored something else.
        Exception: what a layer's stream raised.
        AuthError, PermissionDeniedError, ConnectionError, ResourceExhaustedError, ServiceError: the registry refused or failed.
    """
    client.check(reference)
    parse_config(config, len(layers))
    described = config_descriptor(digest_of(config), len(config))
    manifest = encode_manifest(described, [layer.descriptor for layer in layers])
    digest = digest_of(manifest)
    if reference.digest not in (None, digest):
        raise InvalidError(f"{reference} names another image than the one to push.", remedy="Push to a tag.")

    sources = {source.descriptor.digest: source for source in (*layers, LayerSource(described, lambda: _pieces(config)))}
    pusher = _Pusher(client, reference)
    await run_bounded((pusher.blob(source) for source in sources.values()), parallel)
    await pusher.manifest(manifest, digest)
    return digest


class _Pusher:
    """Uploads to one repository."""

    def __init__(self, client: RegistryClient, reference: Reference) -> None:
        self._client = client
        self._transport = client.origin
        self._reference = reference
        self._repository = reference.repository
        self._scope = f"repository:{self._repository}:pull,push"

    async def blob(self, source: LayerSource) -> None:
        """Have the registry have it."""
        retry = Retry(self._client.settings, sleep=self._client.sleep)
        while True:
            try:
                if not await self._has(source.descriptor):
                    await self._upload(source)
                return
            except Error as error:
                await retry.after(error)

    async def manifest(self, data: bytes, digest: Digest) -> None:
        """Store it under the reference, and look that it is there."""
        path = f"{self._repository}/manifests/{self._reference.tag or digest}"
        retry = Retry(self._client.settings, sleep=self._client.sleep)
        while True:
            try:
                async with self._transport.exchange(
                    self._request("PUT", path, headers={"Content-Type": OCI_MANIFEST}, body=data), {200, 201, 202}
                ):
                    pass
                stored, _ = await self._transport.document(self._request("GET", path, headers={"Accept": OCI_MANIFEST}), len(data))
                break
            except Error as error:
                await retry.after(error)
        if digest_of(stored) != digest:
            raise DataLossError(f"The registry has another manifest under {self._reference} than the one pushed.")

    async def _has(self, descriptor: Descriptor) -> bool:
        path = f"{self._repository}/blobs/{descriptor.digest}"
        async with self._transport.exchange(self._request("HEAD", path), {200, 404}) as response:
            if response.status == 200 and response.content_length not in (None, descriptor.size_bytes):
                raise DataLossError(f"The registry has {descriptor.digest} with another size.")
            return response.status == 200

    async def _upload(self, source: LayerSource) -> None:
        location = await self._begin(source)
        if location is None:
            return
        settings = self._client.settings
        try:
            # A registry that stops reading would hold us for ever: each piece must get away in time.
            async with asyncio.timeout(settings.idle_timeout_s) as patience:
                stream = _Outgoing(source, patience, settings)
                request = self._request(
                    "PUT",
                    url=_with_digest(location, source.descriptor.digest),
                    headers={"Content-Type": _BINARY, "Content-Length": str(source.descriptor.size_bytes)},
                    body=stream.pieces,
                    answer_timeout_s=settings.commit_timeout_s,
                )
                try:
                    async with self._transport.exchange(request, {201, 204}):
                        pass
                except Error:
                    if stream.failure is not None:
                        raise stream.failure from None
                    raise
        except TimeoutError as error:
            raise ConnectionError(f"{self._transport.endpoint.shown} stopped taking {source.descriptor.digest}.") from error

    async def _begin(self, source: LayerSource) -> URL | None:
        """Where to send the blob; None if the registry mounted it."""
        path, scope = f"{self._repository}/blobs/uploads/", self._scope
        url = self._transport.endpoint.url(path)
        if source.mount_from is not None:
            url = url.with_query(mount=source.descriptor.digest, **{"from": check_repository(source.mount_from)})
            scope += f" repository:{source.mount_from}:pull"
        request = self._request("POST", url=url, scope=scope, headers={"Content-Length": "0"})
        async with self._transport.exchange(request, {201, 202}) as response:
            if response.status == 201 and source.mount_from is not None:
                return None
            return follow(response.url, response.headers.get("Location", ""), "upload")

    def _request(
        self,
        method: str,
        path: str = "",
        *,
        url: URL | None = None,
        scope: str | None = None,
        headers: dict[str, str] | None = None,
        body: bytes | Callable[[], AsyncGenerator[bytes, None]] | None = None,
        answer_timeout_s: float | None = None,
    ) -> Request:
        return Request(
            method=method,
            path=path,
            url=url,
            scope=scope or self._scope,
            what=f"the push of {self._reference}",
            headers=headers or {},
            body=body,
            answer_timeout_s=answer_timeout_s,
        )


class _Outgoing:
    """The body of one upload. It ends in an error before its last piece is away if it is not what its descriptor says."""

    def __init__(self, source: LayerSource, patience: asyncio.Timeout, settings: RegistrySettings) -> None:
        """``patience``: moved on with each piece that is taken."""
        self._source = source
        self._patience = patience
        self._settings = settings
        self.failure: Exception | None = None
        """What went wrong in here, in the source above all: the HTTP library tells of a lost connection only."""

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        clock = asyncio.get_running_loop().time
        try:
            async with aclosing(self._checked()) as pieces:
                async for piece in pieces:
                    self._patience.reschedule(clock() + self._settings.idle_timeout_s)
                    yield piece
        except Exception as error:
            self.failure = error
            raise
        self._patience.reschedule(clock() + self._settings.commit_timeout_s)

    async def _checked(self) -> AsyncGenerator[bytes, None]:
        """Raises:  DataLossError: wrong size or digest."""
        hasher, held, described = Hasher(), b"", self._source.descriptor
        async with aclosing(self._source.open()) as chunks:
            async for chunk in chunks:
                hasher.update(chunk)
                if hasher.size_bytes > described.size_bytes:
                    break  # before what is held completes a body of the right size
                if held:
                    yield held
                held = chunk
        if (hasher.size_bytes, hasher.digest()) != (described.size_bytes, described.digest):
            raise DataLossError(f"The data of the blob {described.digest} is not what it should be.")
        if held:
            yield held


def _with_digest(location: URL, digest: Digest) -> URL:
    """What the registry wrote stays as it is: it may be signed."""
    joint = "&" if location.raw_query_string else "?"
    return URL(f"{location}{joint}digest={digest.replace(':', '%3A')}", encoded=True)


async def _pieces(data: bytes) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(data), PIECE_BYTES):
        yield data[start : start + PIECE_BYTES]
