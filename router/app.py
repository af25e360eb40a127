"""Assembles a router from its parts and runs it; tests do so in-process on port 0."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib import metadata
from typing import Any, Final

import grpc
import msgspec
import structlog

from cove.exception import InvalidError
from cove.types import new_id
from cove.wire import control_pb2, node_pb2
from policies.limits import DEFAULT_LIMITS
from router.access import AccessKey, load_key
from router.auth import JOIN_PREFIX, Authenticator, Hasher, new_pepper
from router.bootstrap import ensure_token
from router.changes import Changes
from router.control_api import ControlApi
from router.creation import Creation
from router.db.protocol import Database
from router.db.sqlite.database import open_sqlite
from router.grpc_edge import MAX_REQUEST_BYTES, service
from router.http_edge import HttpEdge, serving
from router.images.assembly import ImageParts, assemble_images
from router.ingress.assembly import IngressParts, running_ingress
from router.ingress.blob_edge import BlobEdge
from router.ingress.dataplane_proxy import DataPlaneProxy
from router.ingress.http_proxy import HttpProxy, new_session
from router.ingress.routes import Routes
from router.metrics import Metrics
from router.node_client import NodeClient
from router.nodes import NodeTable
from router.pausing import Pausing
from router.reconcile import Reconciler
from router.registry_api import RegistryApi
from router.reports import Reports
from router.sandboxes import Addresses, Sandboxes
from router.secret_files import private_directory, read_or_create
from router.settings import RouterSettings
from router.snapshots.assembly import SnapshotParts, assemble_snapshots
from router.tasks import Finisher
from router.terminal.api import TerminalApi
from router.terminal.assembly import TerminalParts, assemble_terminals
from snapshots.settings import open_store
from snapshots.store import Store

_GRPC_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    ("grpc.max_send_message_length", MAX_REQUEST_BYTES),
    # A second router on the same port is a mistake, not load balancing.
    ("grpc.so_reuseport", 0),
    # By default gRPC drops waiting calls at random from 1,000 on; how many are served at once is `max_concurrent_calls`.
    ("grpc.server.max_pending_requests", 10_000),
    ("grpc.server.max_pending_requests_hard_limit", 12_000),
    # Between its default of 8 KiB and twice that gRPC refuses at random, before anything of ours could say why.
    ("grpc.max_metadata_size", 16 * 1024),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
)

log = structlog.get_logger(__name__)


class Secrets(msgspec.Struct, frozen=True, kw_only=True):
    """What the router's directory keeps secret."""

    pepper: bytes
    join_token: str
    access_key: AccessKey


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """The router's parts, wired."""

    db: Database
    nodes: NodeTable
    changes: Changes
    client: NodeClient
    authenticator: Authenticator
    creation: Creation
    reports: Reports
    reconciler: Reconciler
    secrets: Secrets
    metrics: Metrics
    routes: Routes
    images: ImageParts
    snapshots: SnapshotParts
    terminals: TerminalParts


class Router(msgspec.Struct, frozen=True, kw_only=True):
    """A running router, as its owner sees it."""

    grpc_address: str
    """host:port that is bound."""
    http_address: str
    parts: Parts


@asynccontextmanager
async def running(settings: RouterSettings, *, clock: Callable[[], float] = time.time) -> AsyncIterator[Router]:
    """A router that serves until the block is left.

    Args:    clock: Unix seconds.
    Raises:  InvalidError: an address cannot be bound. ConflictError, VersionError: the database cannot be used.
    """
    directory = private_directory(settings.router_dir)
    secrets = _load_secrets(settings, clock)
    async with (
        open_sqlite(directory / "router.db") as db,
        NodeClient(secrets.access_key, timeout_s=settings.node_call_timeout_s) as client,
        Finisher() as finisher,
    ):
        store = await open_store(settings.store_settings)
        parts = await _assemble(settings, db, client, secrets, finisher, store, clock)
        async with (
            parts.images.builds,
            parts.terminals.live,
            running_ingress(settings, db, parts.nodes, secrets.access_key, parts.changes, parts.metrics, clock) as ingress,
            _serving_http(settings, parts) as http_address,
            _serving_grpc(settings, parts, ingress, http_address, clock) as grpc_address,
            asyncio.TaskGroup() as eternal,
        ):
            reconciling = eternal.create_task(parts.reconciler.run(), name="reconciler")
            keeping = eternal.create_task(parts.terminals.keeper.run(), name="terminal keeper")
            storing = eternal.create_task(parts.images.keeper.run(), name="storekeeper")
            sweeping = eternal.create_task(parts.snapshots.sweeper.run(), name="snapshot sweeper")
            closing = eternal.create_task(ingress.run(), name="ingress")
            log.info("router started", grpc=grpc_address, http=http_address)
            yield Router(grpc_address=grpc_address, http_address=http_address, parts=parts)
            reconciling.cancel()
            keeping.cancel()
            storing.cancel()
            sweeping.cancel()
            closing.cancel()
        await parts.authenticator.save_use()


def _load_secrets(settings: RouterSettings, clock: Callable[[], float]) -> Secrets:
    directory = settings.router_dir
    return Secrets(
        pepper=read_or_create(directory / "pepper", new_pepper),
        join_token=read_or_create(directory / "join-token", lambda: new_id(JOIN_PREFIX).encode()).decode().strip(),
        access_key=AccessKey(load_key(directory / "access-key"), clock=clock, access_lifetime_s=settings.access_lifetime_s),
    )


async def _assemble(
    settings: RouterSettings,
    db: Database,
    client: NodeClient,
    secrets: Secrets,
    finisher: Finisher,
    store: Store,
    clock: Callable[[], float],
) -> Parts:
    hasher = Hasher(secrets.pepper)
    authenticator = Authenticator(db.tokens, hasher, clock=clock)
    await ensure_token(db.tokens, authenticator, settings.router_dir, settings.workspace)
    nodes = NodeTable(db.nodes, hasher, clock=clock, unreachable_after_s=settings.node_unreachable_after_s)
    await nodes.load()
    changes, metrics = Changes(), Metrics()
    metrics.watch(nodes, db)
    limits = DEFAULT_LIMITS.with_max_timeout(settings.max_timeout_s)
    creation = Creation(db, nodes, client, finisher, limits=limits, clock=clock)
    reports = Reports(db, nodes, changes, creation, clock=clock, create_grace_s=settings.create_grace_s)
    reconciler = Reconciler(db, nodes, client, reports, creation, authenticator, settings=settings, clock=clock)
    images = assemble_images(settings, db, nodes, client, creation, finisher, store, clock)
    return Parts(
        db=db,
        nodes=nodes,
        changes=changes,
        client=client,
        authenticator=authenticator,
        creation=creation,
        reports=reports,
        reconciler=reconciler,
        secrets=secrets,
        metrics=metrics,
        routes=Routes(db, nodes, secrets.access_key),
        images=images,
        snapshots=assemble_snapshots(db, nodes, client, creation, finisher, images.keeper, metrics, limits, clock),
        terminals=assemble_terminals(settings, db, hasher, nodes, client, changes, clock),
    )


@asynccontextmanager
async def _serving_http(settings: RouterSettings, parts: Parts) -> AsyncIterator[str]:
    blobs = BlobEdge(parts.images.store, parts.nodes, parts.authenticator)
    async with new_session() as session:
        app = HttpEdge(
            HttpProxy(parts.routes, session, parts.metrics), blobs, parts.terminals.edge, parts.authenticator, parts.metrics
        ).app()
        async with serving(app, settings.http_address, shutdown_grace_s=settings.shutdown_grace_s) as address:
            yield address


@asynccontextmanager
async def _serving_grpc(
    settings: RouterSettings, parts: Parts, ingress: IngressParts, http_address: str, clock: Callable[[], float]
) -> AsyncIterator[str]:
    server = grpc.aio.server(options=_GRPC_OPTIONS, maximum_concurrent_rpcs=settings.max_concurrent_calls)
    address = _bind(server, settings.grpc_address)
    control = _control(settings, parts, ingress, _proxy_addresses(settings, address, http_address), http_address, clock)
    server.add_generic_rpc_handlers(
        (control, _registry(settings, parts, http_address), DataPlaneProxy(parts.routes, parts.client, parts.metrics))
    )
    await server.start()
    try:
        yield address
    finally:
        parts.changes.close()
        await server.stop(settings.shutdown_grace_s)
        log.info("router stopped")


def _http_url(settings: RouterSettings, http_address: str) -> str:
    """Where clients find the HTTP edge."""
    return settings.advertised_http_url or f"http://{http_address}"


def _proxy_addresses(settings: RouterSettings, grpc_address: str, http_address: str) -> Addresses | None:
    """What clients are sent to instead of the nodes; None: the nodes."""
    if settings.data_plane == "direct":
        return None
    return Addresses(settings.advertised_grpc_address or grpc_address, _http_url(settings, http_address))


def _control(
    settings: RouterSettings,
    parts: Parts,
    ingress: IngressParts,
    proxy: Addresses | None,
    http_address: str,
    clock: Callable[[], float],
) -> grpc.GenericRpcHandler[Any, Any]:
    sandboxes = Sandboxes(parts.db, parts.nodes, parts.client, parts.changes, parts.secrets.access_key, clock=clock, proxy=proxy)
    http_url = _http_url(settings, http_address)
    api = ControlApi(
        parts.db,
        parts.authenticator,
        parts.nodes,
        parts.creation,
        sandboxes,
        parts.images.api(sandboxes, parts.nodes, parts.client),
        parts.snapshots.api(sandboxes, Pausing(sandboxes, parts.nodes, parts.client, parts.reports)),
        TerminalApi(sandboxes, parts.terminals.terminals, url=http_url),
        ingress.api(sandboxes),
        environment=settings.environment,
        version=metadata.version("cove-server"),
        http_url=http_url,
        pulled_pythons=settings.default_images.pythons,
        clock=clock,
    )
    return service(control_pb2.DESCRIPTOR.services_by_name["Control"], api.methods(), api.authenticate, parts.metrics)


def _registry(settings: RouterSettings, parts: Parts, http_address: str) -> grpc.GenericRpcHandler[Any, Any]:
    secrets = parts.secrets
    api = RegistryApi(
        parts.nodes,
        parts.reports,
        join_token=secrets.join_token,
        public_key=secrets.access_key.public_bytes,
        report_interval_s=settings.report_interval_s,
        http_url=_http_url(settings, http_address),
    )
    return service(node_pb2.DESCRIPTOR.services_by_name["NodeRegistry"], api.methods(), api.authenticate, parts.metrics)


def _bind(server: grpc.aio.Server, address: str) -> str:
    """Bind and return host:port with the port that it became.

    Raises:  InvalidError: the address is taken or not this machine's.
    """
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise InvalidError(f"The router cannot listen on {address}.", remedy="Is another one running? Else set grpc_address.") from error
    return f"{address.rpartition(':')[0]}:{port}"
