"""Checks of the machine itself: rights, kernel, programs, control groups, network, disk, clock. What can be tried is tried."""

from __future__ import annotations

import asyncio
import ctypes
import os
import platform
import shutil
import time
from ipaddress import IPv4Network
from pathlib import Path
from typing import Final

from cove.exception import ConflictError
from policies.egress.ranges import Operator
from sandboxd import kernel
from sandboxd.cgroup.hierarchy import find_hierarchies
from sandboxd.contained import run_contained
from sandboxd.network import rules, service_address
from sandboxd.settings import GIB, NodeSettings

KERNEL: Final = (5, 4)
"""Oldest kernel: pidfd_open(2) is of 5.3, and gVisor's systrap platform is tested from 4.14 on."""

DISK_BYTES: Final = 2 * GIB
"""Least free space for state: the smallest storage pool, its reserve, journal and logs."""
HEADROOM_BYTES: Final = 10 * GIB
"""Below this a few sandboxes with the default disk limit fill the disk."""

PROGRAMS: Final = {
    "mkfs.btrfs": "btrfs-progs",
    "ip": "iproute2",
    "nft": "nftables",
    "mmdebstrap": "mmdebstrap",
    "setpriv": "util-linux",
    "unshare": "util-linux",
    "taskset": "util-linux",
    "zstd": "zstd",
}
"""Program to the Debian package that has it."""

NFT_LIBRARY: Final = "libnftables.so.1"
_SBIN: Final = "/usr/local/sbin:/usr/sbin:/sbin"
_RELEASE_TIME: Final = 1_750_000_000
"""Unix seconds of a day in 2025, before cove existed."""


async def check_root(settings: NodeSettings) -> str:
    if os.geteuid() != 0:
        raise ConflictError("This is not root.", remedy="Run it as root, with sudo for instance: mounts, namespaces and runsc need it.")
    return "effective user is root"


async def check_kernel(settings: NodeSettings) -> str:
    release = platform.release()
    if platform.system() != "Linux":
        raise ConflictError(f"The operating system is {platform.system()}.", remedy="Sandboxes need Linux; the client runs anywhere.")
    numbers = tuple(int(part) for part in release.split("-")[0].split(".")[:2] if part.isdigit())
    if numbers < KERNEL:
        raise ConflictError(f"The kernel is Linux {release}.", remedy=f"Use Linux {KERNEL[0]}.{KERNEL[1]} or newer.")
    return f"Linux {release}, {platform.machine()}"


async def check_programs(settings: NodeSettings) -> str:
    search = os.pathsep.join((os.environ.get("PATH", ""), _SBIN))
    missing = [name for name in PROGRAMS if shutil.which(name, path=search) is None]
    if missing:
        packages = " ".join(sorted({PROGRAMS[name] for name in missing}))
        raise ConflictError(f"Missing: {', '.join(missing)}.", remedy=f"Install them: apt-get install {packages}")
    return f"{len(PROGRAMS)} found"


async def check_filesystems(settings: NodeSettings) -> str:
    missing = [name for name in ("overlay", "btrfs") if not await _filesystem(name)]
    if missing:
        raise ConflictError(
            f"The kernel has no {' and no '.join(missing)}.", remedy="Load the modules with modprobe, or use a kernel that has them."
        )
    if not Path("/dev/loop-control").exists():
        raise ConflictError(
            "There is no /dev/loop-control.", remedy="Load the module loop with modprobe: the storage pool is a loop device."
        )
    return "overlay, btrfs, loop"


async def _filesystem(name: str) -> bool:
    """Whether the kernel has a file system, loading its module if need be."""
    if name not in _filesystems() and shutil.which("modprobe", path=_SBIN):
        loading = await asyncio.create_subprocess_exec("modprobe", "--quiet", name, stdin=asyncio.subprocess.DEVNULL, env={"PATH": _SBIN})
        await loading.wait()
    return name in _filesystems()


def _filesystems() -> list[str]:
    return [line.split()[-1] for line in Path("/proc/filesystems").read_text().splitlines()]


async def check_cgroups(settings: NodeSettings) -> str:
    hierarchies = find_hierarchies(kernel.mounts())
    for controller in ("memory", "pids"):
        group = hierarchies.controllers[controller] / f"cove-doctor-{os.getpid()}"
        try:
            group.mkdir()
            group.rmdir()
        except OSError as error:
            raise ConflictError(
                f"No control group can be made in {group.parent}: {error.strerror}.", remedy="Run cove on the host, not in a container."
            ) from error
    return f"version {hierarchies.version}"


async def check_network(settings: NodeSettings) -> str:
    """In a network namespace of its own, gone with the program: nothing is left behind."""
    argv = ["ip", "link", "add", "cove-a", "type", "veth", "peer", "name", "cove-b"]
    try:
        await run_contained(argv, failure=ConflictError, network=False)
    except ConflictError as error:
        remedy = "The kernel needs network namespaces and veth (module veth)."
        raise ConflictError(f"No veth pair can be made: {error.cause}", remedy=remedy) from error
    return "network namespaces, veth"


async def check_nftables(settings: NodeSettings) -> str:
    try:
        ctypes.CDLL(NFT_LIBRARY)
    except OSError as error:
        raise ConflictError(f"{NFT_LIBRARY} cannot be loaded.", remedy="Install it: apt-get install libnftables1") from error
    everything = rules.Filter(
        table="cove",
        links="cove_",
        operator=Operator(pool=IPv4Network(settings.network_pool)),
        service=rules.Service(service_address(settings.network_pool), 1, 2),
        log_group=1,
        caps=rules.Caps(bandwidth_bytes_per_s=1),
    )
    try:
        await run_contained(["nft", rules.build(everything)], failure=ConflictError, network=False)
    except ConflictError as error:
        remedy = (
            "The kernel needs nf_tables with NAT, connection tracking and logs (modules nft_chain_nat, nft_masq, nft_connlimit, nft_log)."
        )
        raise ConflictError(f"The packet filter cannot be set up: {error.cause}", remedy=remedy) from error
    return "libnftables, the packet filter"


async def check_disk(settings: NodeSettings) -> str:
    place, free = _free(settings.state_dir)
    if free < DISK_BYTES and not (settings.state_dir / "node").exists():
        raise ConflictError(
            f"{place} has {free / GIB:.1f} GiB free.",
            remedy=f"Free at least {DISK_BYTES // GIB} GiB, or set COVE_STATE_DIR to a larger disk.",
        )
    return f"{free / GIB:.0f} GiB free for {settings.state_dir}"


async def check_headroom(settings: NodeSettings) -> str:
    for directory in (settings.state_dir, settings.cache_dir):
        place, free = _free(directory)
        if free < HEADROOM_BYTES:
            raise ConflictError(
                f"{place} has only {free / GIB:.1f} GiB free.", remedy=f"Sandboxes get more room with {HEADROOM_BYTES // GIB} GiB."
            )
    return f"over {HEADROOM_BYTES // GIB} GiB"


def _free(directory: Path) -> tuple[Path, int]:
    """The nearest directory that exists, and the bytes that its file system has free."""
    while not directory.exists():
        directory = directory.parent
    status = os.statvfs(directory)
    return directory, status.f_bavail * status.f_frsize


async def check_clock(settings: NodeSettings) -> str:
    now = time.time()
    if now < _RELEASE_TIME:
        raise ConflictError(f"The clock says {time.strftime('%Y-%m-%d', time.gmtime(now))}.", remedy="Set it: tokens expire by it.")
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
