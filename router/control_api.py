"""The ``cove.v1.Control`` service: decodes requests, calls, encodes answers. Decisions are elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from cove.exception import NotFoundError
from cove.types import AppId, check_name, derived_id, new_id
from cove.wire import common_pb2, control_pb2, network_pb2
from policies.images import in_order
from policies.names import check_app_name, check_environment_name, check_token_name
from router.auth import Authenticator, Caller
from router.convert import from_capacity, to_info, to_status
from router.creation import Creation
from router.db.protocol import Database
from router.db.records import AppRecord
from router.grpc_edge import Metadata, Method
from router.image_api import ImageApi
from router.ingress_api import IngressApi
from router.nodes import Node, NodeTable
from router.sandboxes import Sandboxes
from router.snapshot_api import SnapshotApi
from router.terminal.api import TerminalApi

TOKEN_ID_METADATA = "cove-token-id"
TOKEN_SECRET_METADATA = "cove-token-secret"


class ControlApi:
    """All methods of the service; one instance per router."""

    def __init__(
        self,
        db: Database,
        authenticator: Authenticator,
        nodes: NodeTable,
        creation: Creation,
        sandboxes: Sandboxes,
        images: ImageApi,
        snapshots: SnapshotApi,
        terminals: TerminalApi,
        ingress: IngressApi,
        *,
        environment: str,
        version: str,
        http_url: str,
        pulled_pythons: Sequence[str],
        clock: Callable[[], float],
    ) -> None:
        """
        Args:
            environment: of calls that name none.
            http_url: where clients find the HTTP service.
            pulled_pythons: of default images that come from a registry.
        """
        self._db, self._authenticator, self._nodes = db, authenticator, nodes
        self._creation, self._sandboxes = creation, sandboxes
        self._images, self._snapshots, self._terminals, self._ingress = images, snapshots, terminals, ingress
        self._environment, self._version, self._http_url = environment, version, http_url
        self._pulled_pythons, self._clock = pulled_pythons, clock

    def methods(self) -> Mapping[str, Method[Caller]]:
        """By name in the service."""
        return {
            "Hello": self.hello,
            "TokenCreate": self.token_create,
            "TokenList": self.token_list,
            "TokenRevoke": self.token_revoke,
            "NodeList": self.node_list,
            "AppLookup": self.app_lookup,
            "ProxyGet": self.proxy_get,
            "SandboxCreate": self.sandbox_create,
            "SandboxGet": self.sandbox_get,
            "SandboxGetByName": self.sandbox_get_by_name,
            "SandboxList": self.sandbox_list,
            "SandboxTagsSet": self.sandbox_tags_set,
            "SandboxTagsGet": self.sandbox_tags_get,
            "SandboxWait": self.sandbox_wait,
            "SandboxTerminate": self.sandbox_terminate,
            "SandboxAccess": self.sandbox_access,
            "SandboxNetworkUpdate": self.sandbox_network_update,
            **self._images.methods(),
            **self._snapshots.methods(),
            **self._terminals.methods(),
            **self._ingress.methods(),
        }

    async def authenticate(self, method: str, metadata: Metadata, peer: str) -> Caller:
        """Every method, whatever it is, needs an API token. Raises: AuthError."""
        token_id, secret = metadata.get(TOKEN_ID_METADATA, ""), metadata.get(TOKEN_SECRET_METADATA, "")
        return await self._authenticator.authenticate(token_id, secret, peer=peer)

    async def hello(self, caller: Caller, request: control_pb2.HelloRequest) -> control_pb2.HelloResponse:
        return control_pb2.HelloResponse(
            server_version=self._version,
            workspace=caller.workspace,
            environment=self._environment,
            debian_pythons=in_order([*self._nodes.debian_pythons(), *self._pulled_pythons]),
            pulled_pythons=self._pulled_pythons,
            http_url=self._http_url,
        )

    async def token_create(self, caller: Caller, request: control_pb2.TokenCreateRequest) -> control_pb2.TokenCreateResponse:
        made = await self._authenticator.create(caller.workspace, check_token_name(request.name))
        return control_pb2.TokenCreateResponse(token_id=made.token_id, token_secret=made.token_secret, workspace=caller.workspace)

    async def token_list(self, caller: Caller, request: control_pb2.TokenListRequest) -> control_pb2.TokenListResponse:
        await self._authenticator.save_use()
        tokens = [
            control_pb2.TokenInfo(
                token_id=token.token_id,
                name=token.name,
                created_at=token.created_at,
                last_used_at=token.last_used_at,
                revoked=token.revoked_at > 0,
            )
            for token in await self._db.tokens.list_(caller.workspace)
        ]
        return control_pb2.TokenListResponse(tokens=tokens)

    async def token_revoke(self, caller: Caller, request: control_pb2.TokenRevokeRequest) -> control_pb2.TokenRevokeResponse:
        if not await self._db.tokens.revoke(caller.workspace, request.token_id, self._clock()):
            raise NotFoundError(f"There is no token {request.token_id[:80]!r}.", remedy="`cove token list` shows them.")
        return control_pb2.TokenRevokeResponse()

    async def node_list(self, caller: Caller, request: control_pb2.NodeListRequest) -> control_pb2.NodeListResponse:
        counts = await self._db.sandboxes.count_unstopped()
        return control_pb2.NodeListResponse(nodes=[self._node_info(node, counts.get(node.node_id, 0)) for node in self._nodes.list_()])

    async def app_lookup(self, caller: Caller, request: control_pb2.AppLookupRequest) -> control_pb2.AppLookupResponse:
        name, environment = check_app_name(request.name), self._environment_of(request.environment)
        app = await self._db.apps.find(caller.workspace, environment, name)
        if app is None and request.create_if_missing:
            app = await self._db.apps.ensure(AppRecord(AppId(new_id("ap")), caller.workspace, environment, name, self._clock()))
        if app is None:
            raise NotFoundError(
                f"There is no App {name!r} in environment {environment!r}.", remedy="Look it up with create_if_missing=True."
            )
        return control_pb2.AppLookupResponse(app_id=app.app_id, name=app.name)

    async def proxy_get(self, caller: Caller, request: control_pb2.ProxyGetRequest) -> control_pb2.ProxyGetResponse:
        name = check_name(request.name, what="Proxy")
        self._environment_of(request.environment)
        if not self._nodes.has_proxy(name):
            raise NotFoundError(f"There is no proxy {name!r}.", remedy="Its operator configures it in the nodes' settings: [proxies.NAME].")
        return control_pb2.ProxyGetResponse(proxy_id=derived_id("pr", name.encode()), name=name)

    async def sandbox_create(self, caller: Caller, request: control_pb2.SandboxCreateRequest) -> control_pb2.SandboxCreateResponse:
        return await self._sandboxes.created(await self._creation.create(caller, request))

    async def sandbox_get(self, caller: Caller, request: control_pb2.SandboxGetRequest) -> control_pb2.SandboxInfo:
        return to_info(await self._sandboxes.get(caller, request.sandbox_id))

    async def sandbox_get_by_name(self, caller: Caller, request: control_pb2.SandboxGetByNameRequest) -> control_pb2.SandboxInfo:
        environment = self._environment_of(request.environment)
        return to_info(await self._sandboxes.find(caller, environment, request.app_name, request.name))

    async def sandbox_list(self, caller: Caller, request: control_pb2.SandboxListRequest) -> control_pb2.SandboxListResponse:
        records, cursor = await self._sandboxes.list_(caller, self._environment_of(request.environment), request)
        return control_pb2.SandboxListResponse(sandboxes=map(to_info, records), next_cursor=cursor)

    async def sandbox_tags_set(self, caller: Caller, request: control_pb2.SandboxTagsSetRequest) -> control_pb2.SandboxTagsSetResponse:
        await self._sandboxes.set_tags(caller, request.sandbox_id, request.tags)
        return control_pb2.SandboxTagsSetResponse()

    async def sandbox_tags_get(self, caller: Caller, request: control_pb2.SandboxTagsGetRequest) -> control_pb2.SandboxTagsGetResponse:
        return control_pb2.SandboxTagsGetResponse(tags=(await self._sandboxes.get(caller, request.sandbox_id)).tags)

    async def sandbox_wait(self, caller: Caller, request: control_pb2.SandboxWaitRequest) -> common_pb2.SandboxStatus:
        return to_status(await self._sandboxes.wait(caller, request.sandbox_id, request.timeout_s))

    async def sandbox_terminate(self, caller: Caller, request: control_pb2.SandboxTerminateRequest) -> control_pb2.SandboxTerminateResponse:
        await self._sandboxes.terminate(caller, request.sandbox_id)
        return control_pb2.SandboxTerminateResponse()

    async def sandbox_access(self, caller: Caller, request: control_pb2.SandboxAccessRequest) -> common_pb2.Access:
        return await self._sandboxes.access(await self._sandboxes.get(caller, request.sandbox_id))

    async def sandbox_network_update(
        self, caller: Caller, request: network_pb2.SandboxNetworkUpdateRequest
    ) -> network_pb2.SandboxNetworkUpdateResponse:
        policy = await self._sandboxes.update_network(caller, request.sandbox_id, request.policy)
        return network_pb2.SandboxNetworkUpdateResponse(policy=policy)

    def _environment_of(self, name: str) -> str:
        return check_environment_name(name) if name else self._environment

    def _node_info(self, node: Node, sandboxes: int) -> control_pb2.NodeInfo:
        return control_pb2.NodeInfo(
            node_id=node.node_id,
            state=self._nodes.health(node),
            last_seen_at=node.last_seen_at,
            sandboxes=sandboxes,
            capacity=from_capacity(node.record.capacity),
            reserved=from_capacity(node.reserved),
            version=node.record.version,
            runsc_version=node.record.runsc_version,
            spares=len(node.spares),
            warm_starts=node.spares.starts.warm,
            cold_starts=node.spares.starts.cold,
        )
