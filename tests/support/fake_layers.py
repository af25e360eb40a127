"""The layers of a fake node: node.proto's layer methods over file trees, with levers for failures."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from cove.exception import ConflictError, Error, NotFoundError
from cove.wire import image_pb2, node_pb2
from tests.support.fake_levers import Levers
from tests.support.fake_tree import Tree, new_tree


class FakeLayers(Levers):
    """``layers`` are whole trees: what a sandbox of an image whose last layer it is begins with. ``removal_refusal`` fails removals."""

    def __init__(self) -> None:
        super().__init__()
        self.trees: dict[str, Tree] = {}
        """By sandbox."""
        self.images: dict[str, image_pb2.ImageManifest] = {}
        self.layers: dict[str, Tree] = {}
        self.taken: list[node_pb2.LayerSnapshotRequest] = []
        """Requests that made a layer."""
        self.diffs: list[node_pb2.NodeDiffRequest] = []
        self.removal_refusal: Error | None = None

    def begin(self, sandbox_id: str, image: image_pb2.ImageManifest) -> None:
        """A sandbox starts from an image. Raises: NotFoundError: a layer is neither here nor stored."""
        for layer in image.layers:
            if layer.layer_id and layer.layer_id not in self.layers:
                if not layer.digest:
                    raise NotFoundError(f"layer {layer.layer_id} is not on this node")
                self.layers[layer.layer_id] = new_tree()
        self.images[sandbox_id] = image
        last = image.layers[-1].layer_id if image.layers else ""
        self.trees[sandbox_id] = dict(self.layers[last] if last else new_tree())

    async def snapshot(self, request: node_pb2.LayerSnapshotRequest) -> node_pb2.LayerSnapshotResponse:
        await self.pass_gate()
        if request.sandbox_id not in self.trees:
            raise NotFoundError(f"no sandbox {request.sandbox_id}")
        if request.layer_id not in self.layers:
            self.layers[request.layer_id] = dict(self.trees[request.sandbox_id])
            self.taken.append(request)
        await self.answer_or_not()
        return node_pb2.LayerSnapshotResponse(stopped_s=0.01)

    async def store(self, request: node_pb2.LayerStoreRequest) -> image_pb2.LayerRef:
        self.refuse_or_not()
        name = request.layer.layer_id or request.layer.base
        if request.layer.layer_id and name not in self.layers:
            raise NotFoundError(f"no layer {name}")
        digest = self.keep(name)
        return image_pb2.LayerRef(layer_id=request.layer.layer_id, digest=digest, diff_id=digest, size_bytes=100)

    async def list_(self, request: node_pb2.LayerListRequest) -> node_pb2.LayerListResponse:
        return node_pb2.LayerListResponse(layer_ids=self.layers)

    async def remove(self, request: node_pb2.LayerRemoveRequest) -> node_pb2.LayerRemoveResponse:
        if self.removal_refusal is not None:
            raise self.removal_refusal
        if any(layer.layer_id == request.layer_id for image in self.images.values() for layer in image.layers):
            raise ConflictError("a sandbox uses it")
        self.layers.pop(request.layer_id, None)
        self.drop(request.layer_id)
        return node_pb2.LayerRemoveResponse()

    async def diff(self, request: node_pb2.NodeDiffRequest) -> AsyncIterator[image_pb2.FileChanges]:
        self.diffs.append(request)
        if request.sandbox_id:
            old, new = self._tree(self.images[request.sandbox_id].layers), self.trees[request.sandbox_id]
        else:
            old, new = self._tree(request.old.layers), self._tree(request.new.layers)
        for path in sorted(old.keys() | new.keys()):
            if old.get(path) != new.get(path):
                kind = "added" if path not in old else "removed" if path not in new else "changed"
                yield image_pb2.FileChanges(changes=[image_pb2.FileChange(path=path.encode(), kind=kind)])

    def _tree(self, layers: Sequence[image_pb2.LayerRef]) -> Tree:
        named = [layer for layer in layers if layer.layer_id]
        for layer in named:
            if layer.layer_id not in self.layers and not layer.digest:
                raise NotFoundError(f"layer {layer.layer_id} is not on this node")
        return self.layers.get(named[-1].layer_id, new_tree()) if named else new_tree()
