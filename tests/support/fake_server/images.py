"""The fake router: images. A build does what the test has scripted."""

from __future__ import annotations

from collections.abc import AsyncIterator

from cove.exception import NotFoundError
from cove.wire import image_pb2
from tests.support.fake_server.edge import streaming, unary
from tests.support.fake_server.world import Images, World


class FakeImages:
    """The part of cove.v1.Control that is about images."""

    world: World

    @property
    def _images(self) -> Images:
        return self.world.images

    @streaming
    async def ImageBuild(self, request: image_pb2.ImageBuildRequest) -> AsyncIterator[image_pb2.ImageBuildEvent]:
        self._images.builds.append(request)
        missing = [file.path for layer in request.definition.layers for file in layer.context if not self._has(file)]
        if missing:
            raise NotFoundError(f"Content of {missing[0]!r} was not uploaded.")
        events = [image_pb2.ImageBuildEvent(log=log) for log in self._images.logs]
        if self._images.fail_with is not None:
            for event in events:
                yield event
            raise self._images.fail_with
        if self._images.end_early:
            self._images.end_early -= 1
            for event in events:
                yield event
            return
        for event in [*events, image_pb2.ImageBuildEvent(image=self._images.add("build"))]:
            yield event

    @unary
    async def ImageGet(self, request: image_pb2.ImageGetRequest) -> image_pb2.ImageInfo:
        return self._image(request.image_id)

    @unary
    async def ImageList(self, request: image_pb2.ImageListRequest) -> image_pb2.ImageListResponse:
        known = list(self._images.known.values())
        start = int(request.cursor or 0)
        page = known[start : start + (request.limit or 100)]
        more = start + len(page) < len(known)
        return image_pb2.ImageListResponse(images=page, next_cursor=str(start + len(page)) if more else "")

    @unary
    async def ImageDelete(self, request: image_pb2.ImageDeleteRequest) -> image_pb2.ImageDeleteResponse:
        del self._images.known[self._image(request.image_id).image_id]
        return image_pb2.ImageDeleteResponse()

    @unary
    async def ImagePrune(self, request: image_pb2.ImagePruneRequest) -> image_pb2.ImagePruneResponse:
        self._images.prunes.append(request)
        return image_pb2.ImagePruneResponse(image_ids=self._images.known, blobs=3, bytes=5 * 2**20)

    @streaming
    async def ImagePush(self, request: image_pb2.ImagePushRequest) -> AsyncIterator[image_pb2.ImagePushEvent]:
        self._image(request.image_id)
        self._images.pushes.append(request)
        yield image_pb2.ImagePushEvent(status="layer 1 of 1\x1b[2J")
        yield image_pb2.ImagePushEvent(digest="sha256:" + "ab" * 32)

    @streaming
    async def ImageDiff(self, request: image_pb2.ImageDiffRequest) -> AsyncIterator[image_pb2.FileChanges]:
        self._image(request.old_image_id)
        self._image(request.new_image_id)
        for change in self._images.changes:
            yield image_pb2.FileChanges(changes=[change])

    @streaming
    async def SandboxDiff(self, request: image_pb2.SandboxDiffRequest) -> AsyncIterator[image_pb2.FileChanges]:
        for change in self._images.changes:
            yield image_pb2.FileChanges(changes=[change])

    @unary
    async def SandboxSnapshotFilesystem(self, request: image_pb2.SandboxSnapshotFilesystemRequest) -> image_pb2.ImageInfo:
        self._images.snapshots.append(request)
        known = self._images.by_key.get(request.idempotency_key)
        return known or self._images.by_key.setdefault(request.idempotency_key, self._images.add("snapshot"))

    @unary
    async def BlobsMissing(self, request: image_pb2.BlobsMissingRequest) -> image_pb2.BlobsMissingResponse:
        return image_pb2.BlobsMissingResponse(sha256=[digest for digest in request.sha256 if digest not in self._images.blobs])

    def _has(self, file: image_pb2.ContextFile) -> bool:
        return not file.sha256 or file.sha256 in self._images.blobs

    def _image(self, image_id: str) -> image_pb2.ImageInfo:
        if image_id not in self._images.known:
            raise NotFoundError(f"There is no image {image_id!r}.")
        return self._images.known[image_id]
