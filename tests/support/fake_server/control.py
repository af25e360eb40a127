"""The fake router."""

from __future__ import annotations

from cove.exception import AlreadyExistsError, NotFoundError
from cove.types import new_id
from cove.wire import common_pb2, control_pb2, control_pb2_grpc, network_pb2
from tests.support.fake_server.edge import check_client, unary
from tests.support.fake_server.images import FakeImages
from tests.support.fake_server.ingress import FakeIngress
from tests.support.fake_server.snapshots import FakeSnapshots
from tests.support.fake_server.world import Sandbox, World


class FakeControl(FakeImages, FakeIngress, FakeSnapshots, control_pb2_grpc.ControlServicer):
    """cove.v1.Control, as far as the SDK uses it."""

    def __init__(self, world: World) -> None:
        self.world = world

    def check(self, metadata: dict[str, str | bytes]) -> None:
        check_client(metadata)

    @unary
    async def Hello(self, request: control_pb2.HelloRequest) -> control_pb2.HelloResponse:
        world = self.world
        return control_pb2.HelloResponse(
            server_version=world.server_version,
            workspace="test",
            debian_pythons=world.pythons,
            pulled_pythons=world.pulled,
            http_url=world.told_http_url,
        )

    @unary
    async def TokenCreate(self, request: control_pb2.TokenCreateRequest) -> control_pb2.TokenCreateResponse:
        token_id = f"ak-{len(self.world.tokens)}"
        self.world.tokens[token_id] = control_pb2.TokenInfo(token_id=token_id, name=request.name, created_at=1.0)
        return control_pb2.TokenCreateResponse(token_id=token_id, token_secret="as-new", workspace="test")

    @unary
    async def TokenList(self, request: control_pb2.TokenListRequest) -> control_pb2.TokenListResponse:
        return control_pb2.TokenListResponse(tokens=self.world.tokens.values())

    @unary
    async def TokenRevoke(self, request: control_pb2.TokenRevokeRequest) -> control_pb2.TokenRevokeResponse:
        if request.token_id not in self.world.tokens:
            raise NotFoundError(f"There is no token {request.token_id!r}.")
        self.world.tokens[request.token_id].revoked = True
        return control_pb2.TokenRevokeResponse()

    @unary
    async def AppLookup(self, request: control_pb2.AppLookupRequest) -> control_pb2.AppLookupResponse:
        if request.name not in self.world.apps and not request.create_if_missing:
            raise NotFoundError(f"There is no App {request.name!r}.")
        app_id = self.world.apps.setdefault(request.name, new_id("ap"))
        return control_pb2.AppLookupResponse(app_id=app_id, name=request.name)

    @unary
    async def ProxyGet(self, request: control_pb2.ProxyGetRequest) -> control_pb2.ProxyGetResponse:
        self.world.proxies_asked += 1
        if request.name not in self.world.proxies:
            raise NotFoundError(f"There is no proxy {request.name!r}.")
        return control_pb2.ProxyGetResponse(proxy_id=f"pr-{request.name}", name=request.name)

    @unary
    async def SandboxCreate(self, request: control_pb2.SandboxCreateRequest) -> control_pb2.SandboxCreateResponse:
        holder = self._named(request.app_id, request.name) if request.name else None
        if holder is not None:
            raise AlreadyExistsError(f"A running sandbox has the name {request.name!r}.")
        sandbox = self.world.create(request)
        return control_pb2.SandboxCreateResponse(
            sandbox_id=sandbox.info.sandbox_id, task_id=sandbox.info.task_id, access=self.world.access()
        )

    @unary
    async def SandboxGet(self, request: control_pb2.SandboxGetRequest) -> control_pb2.SandboxInfo:
        return self._sandbox(request.sandbox_id).info

    @unary
    async def SandboxGetByName(self, request: control_pb2.SandboxGetByNameRequest) -> control_pb2.SandboxInfo:
        sandbox = self._named(self.world.apps.get(request.app_name, ""), request.name)
        if sandbox is None:
            raise NotFoundError("No such sandbox is running.")
        return sandbox.info

    @unary
    async def SandboxList(self, request: control_pb2.SandboxListRequest) -> control_pb2.SandboxListResponse:
        matching = [sandbox.info for sandbox in self.world.sandboxes.values() if _matches(sandbox, request)]
        start = int(request.cursor or 0)
        page = matching[start : start + request.limit]
        more = start + len(page) < len(matching)
        return control_pb2.SandboxListResponse(sandboxes=page, next_cursor=str(start + len(page)) if more else "")

    @unary
    async def SandboxTagsSet(self, request: control_pb2.SandboxTagsSetRequest) -> control_pb2.SandboxTagsSetResponse:
        tags = self._sandbox(request.sandbox_id).info.tags
        tags.clear()
        tags.update(request.tags)
        return control_pb2.SandboxTagsSetResponse()

    @unary
    async def SandboxTagsGet(self, request: control_pb2.SandboxTagsGetRequest) -> control_pb2.SandboxTagsGetResponse:
        return control_pb2.SandboxTagsGetResponse(tags=self._sandbox(request.sandbox_id).info.tags)

    @unary
    async def SandboxWait(self, request: control_pb2.SandboxWaitRequest) -> common_pb2.SandboxStatus:
        sandbox = self._sandbox(request.sandbox_id)
        if request.timeout_s and sandbox.info.status.state != common_pb2.SANDBOX_STATE_STOPPED:
            await sandbox.changed.wait(request.timeout_s)
        return sandbox.info.status

    @unary
    async def SandboxTerminate(self, request: control_pb2.SandboxTerminateRequest) -> control_pb2.SandboxTerminateResponse:
        sandbox = self._sandbox(request.sandbox_id)
        if sandbox.info.status.state != common_pb2.SANDBOX_STATE_STOPPED:
            sandbox.end(common_pb2.END_REASON_TERMINATED, 137)
        return control_pb2.SandboxTerminateResponse()

    @unary
    async def SandboxNetworkUpdate(self, request: network_pb2.SandboxNetworkUpdateRequest) -> network_pb2.SandboxNetworkUpdateResponse:
        self._sandbox(request.sandbox_id).spec.network.CopyFrom(request.policy)
        return network_pb2.SandboxNetworkUpdateResponse(policy=request.policy)

    @unary
    async def SandboxAccess(self, request: control_pb2.SandboxAccessRequest) -> common_pb2.Access:
        self._sandbox(request.sandbox_id)
        return self.world.access()

    @unary
    async def TerminalCreate(self, request: control_pb2.TerminalCreateRequest) -> control_pb2.TerminalCreateResponse:
        self._sandbox(request.sandbox_id)
        self.world.terminals.append(request)
        return control_pb2.TerminalCreateResponse(terminal_id="te-1", url="http://cove.example/terminal/te-1#tt-1", expires_at=2.0)

    def _sandbox(self, sandbox_id: str) -> Sandbox:
        if sandbox_id not in self.world.sandboxes:
            raise NotFoundError(f"There is no sandbox {sandbox_id!r}.")
        return self.world.sandboxes[sandbox_id]

    def _named(self, app_id: str, name: str) -> Sandbox | None:
        for sandbox in self.world.sandboxes.values():
            stopped = sandbox.info.status.state == common_pb2.SANDBOX_STATE_STOPPED
            if (sandbox.info.app_id, sandbox.info.name) == (app_id, name) and not stopped:
                return sandbox
        return None


def _matches(sandbox: Sandbox, request: control_pb2.SandboxListRequest) -> bool:
    stopped = sandbox.info.status.state == common_pb2.SANDBOX_STATE_STOPPED
    in_app = not request.app_id or sandbox.info.app_id == request.app_id
    return in_app and (request.include_stopped or not stopped) and request.tags.items() <= sandbox.info.tags.items()
