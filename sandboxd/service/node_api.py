"""The node API: what routers ask of a node."""

from __future__ import annotations

from cove.wire import common_pb2, network_pb2, node_pb2, node_pb2_grpc
from policies.egress import policy_from_wire, policy_to_wire
from sandboxd.image_stack import ImageStacks
from sandboxd.memory import MemoryCache
from sandboxd.node import Node
from sandboxd.service.auth import Gate
from sandboxd.service.convert import create_request, sandbox_status
from sandboxd.service.edge import Context, authorization, unary
from sandboxd.service.layer_api import LayerApi
from sandboxd.service.memory_api import MemoryApi


class NodeService(LayerApi, MemoryApi, node_pb2_grpc.NodeServicer):
    """cove.v1.Node. A simulated node has neither ``images`` nor ``memory``."""

    def __init__(self, node: Node, gate: Gate, images: ImageStacks | None, memory: MemoryCache | None) -> None:
        LayerApi.__init__(self, node, gate, images)
        MemoryApi.__init__(self, node, gate, memory)

    @unary
    async def Create(self, request: node_pb2.NodeCreateRequest, context: Context) -> node_pb2.NodeCreateResponse:
        self._gate.router(authorization(context))
        self._node.create(create_request(request))
        return node_pb2.NodeCreateResponse()

    @unary
    async def Terminate(self, request: node_pb2.NodeTerminateRequest, context: Context) -> node_pb2.NodeTerminateResponse:
        self._gate.router(authorization(context))
        self._node.get(request.sandbox_id).terminate()
        return node_pb2.NodeTerminateResponse()

    @unary
    async def Status(self, request: node_pb2.NodeStatusRequest, context: Context) -> common_pb2.SandboxStatus:
        self._gate.router(authorization(context))
        return sandbox_status(self._node.get(request.sandbox_id))

    @unary
    async def NetworkUpdate(
        self, request: network_pb2.SandboxNetworkUpdateRequest, context: Context
    ) -> network_pb2.SandboxNetworkUpdateResponse:
        self._gate.router(authorization(context))
        policy = policy_from_wire(request.policy)
        await self._node.set_network(request.sandbox_id, policy)
        return network_pb2.SandboxNetworkUpdateResponse(policy=policy_to_wire(policy))

    @unary
    async def List(self, request: node_pb2.NodeListSandboxesRequest, context: Context) -> node_pb2.NodeListSandboxesResponse:
        self._gate.router(authorization(context))
        return node_pb2.NodeListSandboxesResponse(sandboxes=[sandbox_status(sandbox) for sandbox in self._node])
