"""The part of the node API that is about layers and what differs between them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from cove.exception import ConflictError, InvalidError, UnimplementedError
from cove.types import new_id
from cove.wire import image_pb2, node_pb2
from sandboxd.image_stack import ImageStacks
from sandboxd.journal import Image
from sandboxd.lifecycle import State
from sandboxd.node import Node
from sandboxd.service.auth import Gate
from sandboxd.service.convert import MAX_LAYERS, image_of, layer_of
from sandboxd.service.edge import Context, authorization, streaming, unary


class LayerApi:
    """Methods of cove.v1.Node. A node without ``images`` (a simulated one) keeps no layers."""

    def __init__(self, node: Node, gate: Gate, images: ImageStacks | None) -> None:
        self._node = node
        self._gate = gate
        self._stacks = images

    @property
    def _images(self) -> ImageStacks:
        if self._stacks is None:
            raise UnimplementedError("This node keeps no layers.", remedy="Its sandboxes are simulated.")
        return self._stacks

    @unary
    async def LayerSnapshot(self, request: node_pb2.LayerSnapshotRequest, context: Context) -> node_pb2.LayerSnapshotResponse:
        self._gate.router(authorization(context))
        if len(request.merge_layer_ids) > MAX_LAYERS:
            raise InvalidError(f"{len(request.merge_layer_ids)} layers cannot become one.")
        stopped_s = await self._node.take_layer(request.sandbox_id, request.layer_id, list(request.merge_layer_ids))
        return node_pb2.LayerSnapshotResponse(stopped_s=stopped_s)

    @unary
    async def LayerStore(self, request: node_pb2.LayerStoreRequest, context: Context) -> image_pb2.LayerRef:
        self._gate.router(authorization(context))
        layer = request.layer
        layer_of(layer, lowest=True)
        directory = (await self._images.base(layer.base)).path if layer.base else None
        return await self._images.layers.store(layer, directory)

    @unary
    async def LayerList(self, request: node_pb2.LayerListRequest, context: Context) -> node_pb2.LayerListResponse:
        self._gate.router(authorization(context))
        return node_pb2.LayerListResponse(layer_ids=self._images.layers.list_())

    @unary
    async def LayerRemove(self, request: node_pb2.LayerRemoveRequest, context: Context) -> node_pb2.LayerRemoveResponse:
        self._gate.router(authorization(context))
        users = [
            sandbox.sandbox_id
            for sandbox in self._node
            if sandbox.state is not State.STOPPED and any(layer.layer_id == request.layer_id for layer in sandbox.entry.image.layers)
        ]
        if users:
            raise ConflictError(f"{len(users)} sandboxes use the layer, {users[0]} for one.", remedy="Remove it when they have ended.")
        await self._node.warm.release_layer(request.layer_id)
        await self._images.layers.remove(request.layer_id)
        return node_pb2.LayerRemoveResponse()

    @streaming
    async def Diff(self, request: node_pb2.NodeDiffRequest, context: Context) -> AsyncIterator[image_pb2.FileChanges]:
        self._gate.router(authorization(context))
        async with contextlib.AsyncExitStack() as stack:
            if request.sandbox_id:
                old, new = await stack.enter_async_context(self._of_sandbox(request.sandbox_id))
            else:
                old, new = await self._lowers(image_of(request.old)), await self._lowers(image_of(request.new))
            async for changes in self._images.layers.diff(old, new):
                told = [image_pb2.FileChange(path=change.path, kind=change.kind) for change in changes]
                yield image_pb2.FileChanges(changes=told)

    @contextlib.asynccontextmanager
    async def _of_sandbox(self, sandbox_id: str) -> AsyncIterator[tuple[list[Path], list[Path]]]:
        """What the sandbox began with, and that with its changes. Raises: NotFoundError, ConflictError: it has ended."""
        sandbox = self._node.get(sandbox_id)
        await sandbox.guest()
        old = [*(await self._lowers(sandbox.entry.image)), *self._node.own_layers(sandbox)]
        async with self._images.layers.copied(sandbox.sandbox_id, new_id("df")) as changes:
            yield old, [*old, changes]

    async def _lowers(self, image: Image) -> list[Path]:
        return list((await self._images.ensure(image)).lowers)
