"""Puts a node daemon together from its settings and runs it. Wiring only."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Callable
from importlib import metadata
from pathlib import Path
from typing import Final

import msgspec
import structlog

from cove.types import NodeId, new_id
from sandboxd.assembly import INIT_PATH, TMP_PLACEHOLDER
from sandboxd.base_image import BaseImages
from sandboxd.cgroup import Cgroups
from sandboxd.egress_assembly import Egress, serving_egress
from sandboxd.host_assembly import Facilities, HostAssembly
from sandboxd.image_stack import ImageStacks
from sandboxd.journal import Journal
from sandboxd.layers import BlobClient, LayerCache
from sandboxd.memory import MemoryCache, PausedMemory
from sandboxd.memory.machine import Machine, Machines
from sandboxd.network import service_address
from sandboxd.node import Capacity, Node
from sandboxd.processes import SpoolSizes
from sandboxd.registration import Identity, Registration
from sandboxd.rootfs import RootfsMounts
from sandboxd.runsc.builds import Builds
from sandboxd.runsc.by_build import BuildRuntimes
from sandboxd.runsc_keeper import RunscKeeper, find_needs, log_change
from sandboxd.sandbox import Sandbox
from sandboxd.server import Bound, serve
from sandboxd.service.auth import Gate
from sandboxd.settings import NodeSettings
from sandboxd.storage_pool import StoragePool
from sandboxd.warm import WarmPool
from snapshots.backends.threads import in_thread

log = structlog.get_logger()

WARM_SHARE: Final = 32
"""Containers made ahead get a 32nd of the memory that sandboxes may have, if the operator says nothing."""

SPARE_BYTES: Final = 24 * 2**20
"""Memory that one of them counts for."""


class Daemon(msgspec.Struct):
    """A node daemon that serves."""

    node: Node
    facilities: Facilities
    registration: Registration

    async def clear(self) -> None:
        """End every sandbox, free everything, give the kernel's things back: what ``cove down`` wants."""
        self.node.draining = True
        await self.node.terminate_all()
        await self.facilities.close()


@contextlib.asynccontextmanager
async def running(settings: NodeSettings) -> AsyncIterator[Daemon]:
    """A daemon that serves until the block is left; its sandboxes go on.

    Raises: OSError, cove errors: a facility cannot be set up, an address cannot be bound.
    """
    for directory in (settings.node_dir, settings.run_dir):
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    node_id = _node_id(settings.node_id_path)
    blobs = BlobClient()
    gate = Gate(node_id)
    trusted = _trusting(gate, settings.router_key_path)
    started = asyncio.Event()
    registrations: list[Registration] = []

    def changed(sandbox: Sandbox) -> None:
        for registration in registrations:
            registration.note(sandbox)

    def builds_changed() -> None:
        for registration in registrations:
            registration.renew()

    async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        egress = await stack.enter_async_context(serving_egress(settings))
        facilities = await _facilities(settings, blobs, egress, builds_changed)
        node = _node(settings, facilities, changed)
        egress.gate.write_to(node.network_log)
        life = group.create_task(node.run(started), name="node")
        await _first(started, life)
        async with serve(
            node,
            gate,
            grpc_address=settings.grpc_address,
            http_address=settings.http_address,
            images=facilities.images,
            memory=facilities.memory,
        ) as bound:
            identity = await _identity(settings, facilities, node_id, bound)
            registration = Registration(
                node,
                identity,
                router_address=settings.router_address,
                join_token_file=settings.join_token_file,
                trusted=trusted,
                blobs=blobs,
            )
            registrations.append(registration)
            node.warm.when_changed(registration.note_spares)
            reporting = group.create_task(registration.run(), name="registration")
            log.info("node started", node=node_id, grpc=identity.grpc_address, http=identity.http_url)
            try:
                yield Daemon(node, facilities, registration)
            finally:
                reporting.cancel()
                life.cancel()


async def _first(started: asyncio.Event, life: asyncio.Task[None]) -> None:
    """Wait until the node has adopted what it knows; a node that ends before raises why."""
    waiting = asyncio.ensure_future(started.wait())
    await asyncio.wait({waiting, life}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if life.done():
        life.result()


async def _facilities(settings: NodeSettings, blobs: BlobClient, egress: Egress, builds_changed: Callable[[], None]) -> Facilities:
    name = settings.name
    builds = Builds(settings.node_dir / "runsc")
    await builds.take_in(settings.runsc_path)
    runtime = BuildRuntimes(builds, settings.run_dir / "runsc", settings.runsc_platform)
    await runtime.sweep()
    pool = await StoragePool.open(settings.state_dir, instance=name, size_bytes=settings.pool_bytes)
    layers = LayerCache(pool, blobs)
    await layers.sweep()
    machine = Machine.this(runsc_build=builds.current, platform_=settings.runsc_platform)
    memory = MemoryCache(pool, blobs, Machines(machine, lambda: builds.ids))
    await memory.sweep()
    paused = PausedMemory(pool, memory.machines)
    await paused.sweep()
    log_change(builds, await in_thread(find_needs, settings.node_dir / "sandboxes", pool.memory))
    cgroups = Cgroups.open(instance=name, memory_reserve_bytes=settings.memory_reserve_bytes)
    for sandbox_id in cgroups.list_():
        cgroups.thaw(sandbox_id)  # frozen if the last daemon died in the middle of a snapshot; runsc would wait for its answer
    return Facilities(
        runtime=runtime,
        keeper=RunscKeeper(builds, runtime, memory, changed=builds_changed),
        images=ImageStacks(
            BaseImages(settings.images_dir, prebuilt=settings.bases_dir, progress=lambda line: log.info("image progress", line=line)),
            layers,
            tarball_dirs=settings.tarball_dirs or [settings.state_dir / "tarballs"],
            run_dir=settings.run_dir,
        ),
        memory=memory,
        paused=paused,
        pool=pool,
        rootfs=RootfsMounts(settings.run_dir, instance=name),
        cgroups=cgroups,
        network=egress.networks,
        egress=egress.gate,
        guest_layer=_guest_layer(settings),
        run_dir=settings.run_dir,
        nameservers=[str(service_address(settings.network_pool))],
    )


def _guest_layer(settings: NodeSettings) -> Path:
    """The lower directory with ``cove-init``. Named after its contents: an upgrade makes another and leaves running sandboxes theirs."""
    with settings.guest_path.open("rb") as binary:
        digest = hashlib.file_digest(binary, "sha256").hexdigest()
    layer = settings.run_dir / f"guest-{digest[:16]}"
    if layer.exists():
        return layer
    fresh = settings.run_dir / f"guest.{os.getpid()}"
    init = fresh / INIT_PATH.lstrip("/")
    init.parent.mkdir(parents=True)
    shutil.copyfile(settings.guest_path, init)
    init.chmod(0o755)
    for mount_point in ("proc", "dev", "sys", "run", "run/cove", "tmp"):
        (fresh / mount_point).mkdir(exist_ok=True)
    (fresh / "tmp").chmod(0o1777)
    (fresh / TMP_PLACEHOLDER.lstrip("/")).touch()
    fresh.rename(layer)
    return layer


def _node(settings: NodeSettings, facilities: Facilities, changed: Callable[[Sandbox], None]) -> Node:
    cgroups = facilities.cgroups
    assembly = HostAssembly(facilities)
    share_bytes = cgroups.node_memory_bytes // WARM_SHARE
    return Node(
        journal=Journal(settings.node_dir),
        assembly=assembly,
        warm=WarmPool(
            assembly,
            facilities.runtime,
            memory_bytes=share_bytes if settings.warm_memory_bytes is None else settings.warm_memory_bytes,
            each_bytes=SPARE_BYTES,
        ),
        runtime=facilities.runtime,
        oom_kills=cgroups.oom_kills,
        spool_sizes=SpoolSizes(head_bytes=settings.spool_head_bytes, tail_bytes=settings.spool_tail_bytes),
        capacity=Capacity(
            cpu_millis=settings.cpu_capacity_millis or cgroups.cores * 1000,
            memory_bytes=settings.memory_capacity_bytes or cgroups.node_memory_bytes,
            sandboxes=settings.max_sandboxes,
        ),
        record_retention_s=settings.record_retention_s,
        free_disk_bytes=facilities.pool.free_bytes,
        changed=changed,
    )


async def _identity(settings: NodeSettings, facilities: Facilities, node_id: NodeId, bound: Bound) -> Identity:
    grpc_host, http_host = (address.rpartition(":")[0] for address in (settings.grpc_address, settings.http_address))
    return Identity(
        node_id=node_id,
        grpc_address=settings.advertised_grpc_address or f"{grpc_host}:{bound.grpc_port}",
        http_url=settings.advertised_http_url or f"http://{http_host}:{bound.http_port}",
        version=metadata.version("cove-server"),
        runsc_version=facilities.memory.machines.current.runsc_version,
        runsc_builds=lambda: facilities.keeper.builds,
        debian_pythons=facilities.images.pythons(),
        proxies=sorted(settings.proxies),
    )


def _node_id(path: Path) -> NodeId:
    """The node's id, chosen at its first start."""
    try:
        return NodeId(path.read_text().strip())
    except FileNotFoundError:
        node_id = NodeId(new_id("no"))
        path.write_text(node_id + "\n")
        return node_id


def _trusting(gate: Gate, path: Path) -> Callable[[bytes], None]:
    """Trust the router of the last run from the start: clients go on at once, and also while the router is away.

    Returns: what takes the key at every registration and keeps it for the next run.
    """
    with contextlib.suppress(FileNotFoundError, ValueError):
        gate.trust(path.read_bytes())

    def trusted(key: bytes) -> None:
        gate.trust(key)
        fresh = path.with_suffix(".new")
        fresh.write_bytes(key)
        fresh.replace(path)

    return trusted
