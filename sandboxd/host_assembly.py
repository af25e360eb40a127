"""The Assembly protocol on a real host: image, writable layer, mounts, network, FIFOs, container, cgroup.

Each thing is named after the sandbox; ``free`` removes all of them, whatever half of them exists.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import structlog

from cove.exception import ResourceExhaustedError
from cove.types import SandboxId
from policies.egress import EgressPolicy, Mode
from policies.oci import oci_resources, running_memory_limit, visible_cores
from sandboxd import orphans
from sandboxd.assembly import INIT_PATH, Made, MemoryOrder, Subject
from sandboxd.build_settings import BuildSettings
from sandboxd.cgroup import Cgroups
from sandboxd.channel.link import Fifos
from sandboxd.egress_gate import EgressGate
from sandboxd.image_stack import ImageStacks, Stack, release_of
from sandboxd.journal import Entry
from sandboxd.layers.cache import Stopped
from sandboxd.memory import MemoryCache, PausedMemory
from sandboxd.memory.layout import GUEST, IMAGE, STATE
from sandboxd.memory.machine import Machine
from sandboxd.memory.manifest import Manifest, read_manifest
from sandboxd.memory.taking import Moment
from sandboxd.naming import hostname, sandbox_ids
from sandboxd.network import NetworkManager, SandboxNetwork, resolv_conf
from sandboxd.rootfs import RootfsMounts
from sandboxd.runsc.argv import PID_FILE
from sandboxd.runsc_keeper import RunscKeeper
from sandboxd.runtime import Container, Runtime, RuntimeFailed
from sandboxd.storage_pool import StoragePool
from sandboxd.timer_slack import Placed, TimerSlack
from snapshots.backends.threads import in_thread

log = structlog.get_logger()

Removal = Callable[[], Awaitable[object]]

BOOTS_PER_CORE: Final = 4
"""Containers that come up at a time, those whose files are still being fetched apart. More would be there no sooner, and a hundred of them
leave the daemon no time to answer."""

_SHARED: Final = ("", "etc", "run", "tmp")
"""Directories that the node's own layers have, too."""


class Facilities(msgspec.Struct, frozen=True, kw_only=True):
    """The node's kernel facilities, shared by all sandboxes."""

    runtime: Runtime
    keeper: RunscKeeper
    images: ImageStacks
    memory: MemoryCache
    paused: PausedMemory
    pool: StoragePool
    rootfs: RootfsMounts
    cgroups: Cgroups
    network: NetworkManager
    egress: EgressGate
    guest_layer: Path
    """Read-only lower directory with ``cove-init`` and mount points."""
    run_dir: Path
    nameservers: Sequence[str]

    async def close(self) -> None:
        """Give back what is the node's own; every sandbox must be freed. Raises: ConflictError: one is not."""
        self.network.close()
        self.cgroups.close()
        await self.pool.close()


class HostAssembly:
    """The Assembly protocol over kernel facilities and a container runtime."""

    def __init__(self, facilities: Facilities) -> None:
        self._f = facilities
        self._cores = sorted(os.sched_getaffinity(0))
        self._starts = itertools.count()
        self._boots = asyncio.Semaphore(BOOTS_PER_CORE * len(self._cores))
        self._timer_slack = TimerSlack(self._placed)
        self._sandboxes = facilities.run_dir / "sandboxes"
        self._sandboxes.mkdir(parents=True, exist_ok=True, mode=0o700)

    def directory(self, sandbox_id: SandboxId) -> Path:
        """What of a sandbox need not survive a reboot: FIFOs, bundle, logs of runsc."""
        return self._sandboxes / sandbox_id

    async def make(self, entry: Entry) -> Made:
        f = self._f
        image = await f.images.ensure(entry.image)
        memory = await self._memory_of(entry)
        settings = await f.images.build_settings() if entry.build else None
        async with self._boots:
            return await self._boot(entry, image, memory, settings)

    async def _boot(self, entry: Entry, image: Stack, memory: Path | None, settings: BuildSettings | None) -> Made:
        f, sandbox_id = self._f, entry.sandbox_id
        directory = self.directory(sandbox_id)
        directory.mkdir(mode=0o700)
        network = _attached(f.network, entry)
        upper = f.pool.create_upper(sandbox_id, entry.resources.disk_limit_bytes, after=image.top)
        identity = _identity_layer(directory / "layer", entry, address=network.address if network else None, nameservers=f.nameservers)
        _like_in_image("", image.lowers, upper.upper_dir)
        for name in _SHARED:
            _like_in_image(name, image.lowers, identity / name)
        of_build = [settings.layer(release_of(entry.image))] if settings else []
        guest_layer = await self._guest_layer_for(entry, memory)
        rootfs = f.rootfs.mount_rootfs(sandbox_id, [identity, *of_build, guest_layer, *reversed(image.lowers)], upper)
        fifos = Fifos(directory)
        fifos.make()
        fifos.open()
        container = Container(
            sandbox_id=sandbox_id,
            directory=directory,
            rootfs=rootfs,
            init=INIT_PATH,
            hostname=hostname(sandbox_id),
            env={},
            resources=oci_resources(
                entry.resources,
                cpus=self._first_cpus(visible_cores(entry.resources.cpu_limit_millis, f.cgroups.cores)),
                cores=f.cgroups.cores,
                node_memory_bytes=f.cgroups.node_memory_bytes,
            ),
            cgroups_path=f.cgroups.path_for(sandbox_id),
            netns=network.netns_path if network else None,
            build=self._machine_for(memory).runsc_build,
            start_prefix=f.network.start_prefix(network.netns_path) if network else (),
        )
        try:
            await f.runtime.create(container, stdin=fifos.to_guest, stdout=fifos.from_guest)
            self._loosen(entry)
            await (f.runtime.restore(container, memory / IMAGE) if memory else f.runtime.start(container))
        except BaseException:
            fifos.close()
            raise
        env = {**image.env, **(settings.env if settings else {})}
        state = memory / STATE if memory and not entry.paused_at else None
        return Made(container, fifos, env, image.image_id, state, guest_layer)

    async def _memory_of(self, entry: Entry) -> Path | None:
        """What the sandbox goes on from, verified; None: it boots."""
        if entry.paused_at:
            return await self._f.paused.ensure(entry.sandbox_id)
        return await self._f.memory.ensure(entry.restore) if entry.restore else None

    async def _guest_layer_for(self, entry: Entry, memory: Path | None) -> Path:
        """The directory with ``cove-init`` to be mounted; a sandbox that was paused gets its own, which stays when its memory goes."""
        if memory is None:
            return self._f.guest_layer
        if not entry.paused_at:
            return memory / GUEST
        own = self.directory(entry.sandbox_id) / GUEST
        await in_thread(shutil.copytree, memory / GUEST, own, symlinks=True)
        return own

    def _machine_for(self, memory: Path | None) -> Machine:
        """With the build of runsc that is to make a container."""
        machines = self._f.memory.machines
        return machines.restoring(read_manifest(memory).machine) if memory else machines.current

    def _first_cpus(self, visible: int) -> str:
        """A cpuset of ``visible`` cores to start on; starts move along the cores."""
        cores = self._cores
        first = next(self._starts)
        return ",".join(str(cores[(first + index) % len(cores)]) for index in range(visible))

    def _loosen(self, entry: Entry) -> None:
        """The sentry has seen what it shall show inside; from here on limits are what they are for the host."""
        cgroups, limit = self._f.cgroups, entry.resources.memory_limit_bytes
        if limit:
            cgroups.set_memory_limit(entry.sandbox_id, running_memory_limit(limit, cgroups.node_memory_bytes))
        cgroups.set_cpus(entry.sandbox_id, ",".join(map(str, self._cores)))

    def reopen(self, sandbox_id: SandboxId) -> Fifos:
        fifos = Fifos(self.directory(sandbox_id))
        fifos.open()
        return fifos

    async def kill(self, sandbox_id: SandboxId) -> None:
        await asyncio.to_thread(self._f.cgroups.kill, sandbox_id)
        await asyncio.to_thread(orphans.collect)

    @contextlib.asynccontextmanager
    async def pausing(self, entry: Entry) -> AsyncIterator[None]:
        f, sandbox_id = self._f, entry.sandbox_id
        _check_room(f, sandbox_id)
        try:
            async with f.paused.writing(sandbox_id, entry.runsc_build) as work:
                await in_thread(shutil.copytree, self._guest_layer(entry), work / GUEST, symlinks=True)
                async with f.runtime.ready_checkpoint(sandbox_id, work / IMAGE) as checkpoint:
                    await checkpoint.pause()
                    await checkpoint.write()
            yield
        except BaseException:
            with contextlib.suppress(RuntimeFailed):  # it was not paused yet, or is gone
                await f.runtime.resume(sandbox_id)
            await f.paused.remove(sandbox_id)
            raise

    async def dismantle(self, sandbox_id: SandboxId) -> None:
        await _take_apart(sandbox_id, self._kernel_parts(sandbox_id))

    async def forget_memory(self, sandbox_id: SandboxId) -> None:
        await self._f.paused.remove(sandbox_id)

    async def free(self, sandbox_id: SandboxId) -> None:
        f = self._f
        on_disk: list[Removal] = [lambda: f.pool.remove_upper(sandbox_id), lambda: f.paused.remove(sandbox_id)]
        await _take_apart(sandbox_id, [*self._kernel_parts(sandbox_id), *on_disk])

    def _kernel_parts(self, sandbox_id: SandboxId) -> list[Removal]:
        """What removes all that is not the sandbox's files or memory, in order."""
        f = self._f
        return [
            lambda: self.kill(sandbox_id),
            lambda: f.runtime.delete(sandbox_id),
            lambda: asyncio.to_thread(f.rootfs.unmount_rootfs, sandbox_id),
            lambda: asyncio.to_thread(f.network.detach, sandbox_id),
            lambda: _now(f.egress.forget, sandbox_id),
            lambda: asyncio.to_thread(f.cgroups.remove, sandbox_id),
            lambda: asyncio.to_thread(_remove_directory, self.directory(sandbox_id)),
        ]

    async def freeze(self, sandbox_id: SandboxId) -> None:
        await in_thread(self._f.cgroups.freeze, sandbox_id)  # to its end: it must not freeze what was thawed meanwhile

    async def thaw(self, sandbox_id: SandboxId) -> None:
        self._f.cgroups.thaw(sandbox_id)

    async def quieten(self, running: Collection[SandboxId]) -> None:
        await self._timer_slack.look(running)

    def stir(self, sandbox_id: SandboxId) -> None:
        self._timer_slack.stir(sandbox_id)

    def rest(self, sandbox_id: SandboxId) -> None:
        self._timer_slack.rest(sandbox_id)

    def _placed(self, sandbox_id: SandboxId) -> Placed:
        written = (self.directory(sandbox_id) / PID_FILE).read_text().strip()
        processes = self._f.cgroups.processes(sandbox_id)
        if written not in map(str, processes):  # another's by now, or not written whole
            raise ProcessLookupError(f"The sentry of {sandbox_id} is gone.")
        return Placed(int(written), processes)

    async def repair(self) -> None:
        await asyncio.to_thread(orphans.collect)
        if await asyncio.to_thread(self._f.network.ensure_filter):
            log.warning("packet filter was gone, put back")

    async def set_network(self, sandbox_id: SandboxId, policy: EgressPolicy) -> None:
        self._f.egress.set_policy(sandbox_id, policy)

    def own_layers(self, entry: Entry) -> list[Path]:
        return [self.directory(entry.sandbox_id) / "layer"]  # the guest's own files are nobody's changes

    async def take_layer(self, entry: Entry, layer_id: str, merge: Sequence[str]) -> float:
        return await self._take_layer(entry, layer_id, merge, lambda: self._frozen(entry.sandbox_id))

    async def take_memory(self, entry: Entry, order: MemoryOrder, subject: Subject) -> Manifest:
        f = self._f
        async with f.memory.turn(order.snapshot_id):
            if (known := f.memory.taken(order.snapshot_id)) is not None:
                return known
            _check_room(f, entry.sandbox_id)
            await f.images.layers.remove(order.layer_id)  # of an attempt that ended before its memory was whole
            async with f.memory.taking(order.snapshot_id) as work:
                async with f.runtime.ready_checkpoint(entry.sandbox_id, work / IMAGE) as checkpoint:
                    moment = Moment(checkpoint, work, subject)
                    await in_thread(shutil.copytree, self._guest_layer(entry), work / GUEST, symlinks=True)
                    await self._take_layer(entry, order.layer_id, order.merge, moment.stopped)
                return await in_thread(moment.write_manifest, order, f.memory.machines.with_build(entry.runsc_build))

    def _guest_layer(self, entry: Entry) -> Path:
        """What the sandbox has mounted: an earlier daemon's, or a snapshot's, may be another build."""
        return Path(entry.guest_layer) if entry.guest_layer else self._f.guest_layer

    async def _take_layer(self, entry: Entry, layer_id: str, merge: Sequence[str], stopped: Stopped) -> float:
        images, sandbox_id = self._f.images, entry.sandbox_id
        settings = [(await images.build_settings()).layer(release_of(entry.image))] if entry.build else []
        own = [*self.own_layers(entry), *settings, self._guest_layer(entry)]
        return await images.layers.take(sandbox_id, layer_id, merge, own=own, stopped=stopped)

    @contextlib.asynccontextmanager
    async def _frozen(self, sandbox_id: SandboxId) -> AsyncIterator[None]:
        try:
            await self.freeze(sandbox_id)
            yield
        finally:
            self._f.cgroups.thaw(sandbox_id)

    async def forget_builds(self, used: Collection[str]) -> None:
        await self._f.keeper.forget(used)

    async def owners(self) -> frozenset[SandboxId]:
        f = self._f
        on_disk = [f.pool.list_(), f.paused.list_()]
        held = [f.rootfs.list_(), f.network.list_(), f.egress.list_(), f.cgroups.list_(), *on_disk, await f.runtime.list_()]
        directories = sandbox_ids(path.name for path in self._sandboxes.iterdir())
        return frozenset[SandboxId]().union(directories, *held)


def _attached(networks: NetworkManager, entry: Entry) -> SandboxNetwork | None:
    """The sandbox's network; None if it is blocked."""
    return None if entry.network.mode is Mode.BLOCKED else networks.attach(entry.sandbox_id, entry.network)


async def _take_apart(sandbox_id: SandboxId, removals: Iterable[Removal]) -> None:
    """Remove one thing after the other. Raises: ExceptionGroup: what could not be."""
    errors: list[Exception] = []
    for remove in removals:
        try:
            await remove()
        except Exception as error:
            errors.append(error)
    if errors:
        raise ExceptionGroup(f"sandbox {sandbox_id} could not be freed whole", errors)


async def _now(work: Callable[[SandboxId], None], sandbox_id: SandboxId) -> None:
    """What takes no time to speak of, and belongs to this thread, as a step among those that do."""
    work(sandbox_id)


def _identity_layer(path: Path, entry: Entry, *, address: str | None, nameservers: Sequence[str]) -> Path:
    """The topmost lower directory: what tells this sandbox from others of its image."""
    etc = path / "etc"
    etc.mkdir(parents=True)
    for directory in (path, etc):
        directory.chmod(0o755)
    name = hostname(entry.sandbox_id)
    (etc / "hostname").write_text(name + "\n")
    (etc / "hosts").write_text(f"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n{address or '127.0.1.1'}\t{name}\n")
    (etc / "resolv.conf").write_text(resolv_conf(nameservers) if entry.network.has_resolver else "")
    for file in etc.iterdir():
        file.chmod(0o644)
    return path


def _check_room(f: Facilities, sandbox_id: SandboxId) -> None:
    """Raises: ResourceExhaustedError: the sandbox's memory would fill the disk that all sandboxes write to."""
    needed, free = f.cgroups.memory_bytes(sandbox_id), f.pool.free_bytes()
    if needed > free:
        raise ResourceExhaustedError(
            f"The sandbox has {needed // 2**20} MiB of memory; the node has {free // 2**20} MiB of disk left.",
            remedy="Delete snapshots, or add a disk.",
        )


def _like_in_image(name: str, lowers: Sequence[Path], ours: Path) -> None:
    """Give ``ours``, which lies on top of the image's directory ``name``, mode, owner and mtime of that: the topmost are what is seen."""
    seen = (status for lower in reversed(lowers) if (status := _status(lower / name)) is not None)
    status = next(seen, None)
    if status is None or not stat.S_ISDIR(status.st_mode):
        return
    ours.mkdir(exist_ok=True)
    os.chown(ours, status.st_uid, status.st_gid)
    ours.chmod(stat.S_IMODE(status.st_mode))
    os.utime(ours, ns=(status.st_atime_ns, status.st_mtime_ns))


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def _remove_directory(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    if path.exists():
        raise OSError(f"{path} could not be removed")
