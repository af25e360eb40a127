"""The part of ``cove.v1.Control`` that is about images: decodes requests, calls, encodes answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Final

from cove.exception import InvalidError
from cove.wire import image_pb2, node_pb2
from router.auth import Caller
from router.grpc_edge import Method
from router.images.builds import Builds
from router.images.catalogue import Catalogue
from router.images.manifests import only_node, to_image_info, to_manifest
from router.images.pushes import Pushes
from router.images.snapshots import Snapshots
from router.images.storekeeper import Storekeeper
from router.node_client import NodeClient
from router.nodes import NodeTable
from router.sandboxes import Sandboxes
from snapshots.digest import Digest
from snapshots.store import Store

MAX_ASKED: Final = 10_000
SHA256_BYTES: Final = 32


class ImageApi:
    """Methods by name; one instance per router."""

    def __init__(
        self,
        catalogue: Catalogue,
        builds: Builds,
        snapshots: Snapshots,
        pushes: Pushes,
        keeper: Storekeeper,
        store: Store,
        sandboxes: Sandboxes,
        nodes: NodeTable,
        client: NodeClient,
    ) -> None:
        self._catalogue, self._builds, self._snapshots, self._pushes = catalogue, builds, snapshots, pushes
        self._keeper, self._store, self._sandboxes, self._nodes, self._client = keeper, store, sandboxes, nodes, client

    def methods(self) -> Mapping[str, Method[Caller]]:
        """By name in the service."""
        return {
            "SandboxSnapshotFilesystem": self.snapshot_filesystem,
            "SandboxDiff": self.sandbox_diff,
            "ImageBuild": self._builds.build,
            "ImageGet": self.get,
            "ImageList": self.list_,
            "ImageDelete": self.delete,
            "ImagePrune": self.prune,
            "ImagePush": self._pushes.push,
            "ImageDiff": self.diff,
            "BlobsMissing": self.blobs_missing,
        }

    async def snapshot_filesystem(self, caller: Caller, request: image_pb2.SandboxSnapshotFilesystemRequest) -> image_pb2.ImageInfo:
        record = await self._sandboxes.get(caller, request.sandbox_id)
        return to_image_info(await self._snapshots.take(record, request))

    async def sandbox_diff(self, caller: Caller, request: image_pb2.SandboxDiffRequest) -> AsyncIterator[image_pb2.FileChanges]:
        record = await self._sandboxes.get(caller, request.sandbox_id)
        node = self._nodes.get(record.node_id)
        async for changes in self._client.diff(node, node_pb2.NodeDiffRequest(sandbox_id=record.sandbox_id)):
            yield changes

    async def get(self, caller: Caller, request: image_pb2.ImageGetRequest) -> image_pb2.ImageInfo:
        return to_image_info(await self._catalogue.get(caller.workspace, request.image_id))

    async def list_(self, caller: Caller, request: image_pb2.ImageListRequest) -> image_pb2.ImageListResponse:
        images, cursor = await self._catalogue.list_(caller, cursor=request.cursor, limit=request.limit)
        return image_pb2.ImageListResponse(images=map(to_image_info, images), next_cursor=cursor)

    async def delete(self, caller: Caller, request: image_pb2.ImageDeleteRequest) -> image_pb2.ImageDeleteResponse:
        await self._catalogue.delete(caller, request.image_id)
        return image_pb2.ImageDeleteResponse()

    async def prune(self, caller: Caller, request: image_pb2.ImagePruneRequest) -> image_pb2.ImagePruneResponse:
        if not request.older_than_s >= 0:  # so that NaN is refused, too
            raise InvalidError("older_than_s is negative.", remedy="Give 0 or more seconds.")
        images = await self._catalogue.unreachable(caller, older_than_s=request.older_than_s)
        if not request.dry_run:
            for image in images:
                await self._catalogue.delete(caller, image.image_id)
        pruned = await self._keeper.collect(older_than_s=request.older_than_s, dry_run=request.dry_run)
        return image_pb2.ImagePruneResponse(image_ids=[image.image_id for image in images], blobs=pruned.blobs, bytes=pruned.size_bytes)

    async def diff(self, caller: Caller, request: image_pb2.ImageDiffRequest) -> AsyncIterator[image_pb2.FileChanges]:
        old = await self._catalogue.get(caller.workspace, request.old_image_id)
        new = await self._catalogue.get(caller.workspace, request.new_image_id)
        bound = only_node(old.layers) or only_node(new.layers)
        if only_node(new.layers) not in (None, bound):  # each is on a node of its own: one has to come to the other
            for layer in new.layers:
                await self._keeper.store_layer(layer)
            new = await self._catalogue.get(caller.workspace, request.new_image_id)
        node = self._nodes.get(bound) if bound else self._nodes.any_reachable()
        async for changes in self._client.diff(node, node_pb2.NodeDiffRequest(old=to_manifest(old), new=to_manifest(new))):
            yield changes

    async def blobs_missing(self, caller: Caller, request: image_pb2.BlobsMissingRequest) -> image_pb2.BlobsMissingResponse:
        if len(request.sha256) > MAX_ASKED or any(len(digest) != SHA256_BYTES for digest in request.sha256):
            raise InvalidError("These are not digests that can be asked for.", remedy=f"Ask for at most {MAX_ASKED}, of 32 bytes each.")
        missing = [digest for digest in request.sha256 if not await self._store.has(Digest(f"sha256:{digest.hex()}"))]
        return image_pb2.BlobsMissingResponse(sha256=missing)
