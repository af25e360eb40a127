"""Checks of what runs sandboxes: runsc, a sandbox of its actually started, and the guest."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import struct
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from cove.exception import ConflictError
from sandboxd import kernel
from sandboxd.cgroup.hierarchy import find_hierarchies
from sandboxd.contained import run_contained
from sandboxd.runsc.builds import digits_of, kept_in
from sandboxd.runsc_keeper import UNNAMED, Need, find_needs
from sandboxd.settings import NodeSettings
from snapshots.backends.threads import in_thread

OLDEST_RUNSC: Final = 20240729
"""Release date of the oldest runsc that is tested: before it, the systrap platform and uncompressed checkpoints are missing."""

MEMORY_BYTES: Final = 256 * 2**20
_INSTALL: Final = "Install gVisor's release from its own site, or Debian's package from backports; `make run` does."
_MISSING: Final = "Install that gVisor as runsc_path and restart the node, which keeps a copy; then upgrade. Or delete the snapshots."
_PROBE: Final = "cove-doctor-"
"""What probes are named after, followed by the doctor's pid."""
_PT_INTERP: Final = 3


async def check_version(settings: NodeSettings) -> str:
    runsc = settings.runsc_path
    try:
        process = await asyncio.create_subprocess_exec(
            runsc, "--version", stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
    except OSError as error:
        raise ConflictError(f"runsc cannot be run at {runsc}: {error.strerror}.", remedy=_INSTALL) from error
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await asyncio.shield(process.wait())
    return parse_version(said.decode("utf-8", "replace"))


def parse_version(text: str) -> str:
    """The version in what ``runsc --version`` says, if it is new enough.

    Raises:  ConflictError: too old, or not a version.
    """
    match = re.match(r"runsc version (?P<version>\S*?(?P<date>20\d{6})\S*)", text)
    if match is None:
        raise ConflictError(f"runsc says {text[:80]!r} for its version.", remedy=_INSTALL)
    if int(match["date"]) < OLDEST_RUNSC:
        raise ConflictError(f"runsc is of {match['version']}; {OLDEST_RUNSC} is the oldest that works.", remedy=_INSTALL)
    return match["version"]


async def check_builds(settings: NodeSettings) -> str:
    """Which builds of runsc are needed by what, and whether they are there: an upgrade orphans nothing as long as they are."""
    memory = [settings.state_dir / "memory", settings.state_dir / "pool" / "memory"]
    needs = await in_thread(find_needs, settings.node_dir / "sandboxes", *memory)
    installed = await in_thread(digits_of, settings.runsc_path)
    kept = await in_thread(kept_in, settings.node_dir / "runsc")
    missing = {build: need for build, need in needs.items() if build != UNNAMED and build not in kept}
    if missing:
        lost = "; ".join(f"{build}: {need}" for build, need in missing.items())
        raise ConflictError(f"Builds of runsc are missing, and what needs them cannot go on: {lost}.", remedy=_MISSING)
    return "; ".join(_told(build, needs.get(build), installed) for build in sorted({*kept, *needs})) or "none kept yet"


def _told(build: str, need: Need | None, installed: str) -> str:
    if build.endswith(f"-{installed}"):
        return f"{build} (installed): {need or 'nothing'}"
    orphaned = ", orphaned if the installed one took its place" if need and build != UNNAMED else ""
    return f"{build}: {need or 'nothing'}{orphaned}"


async def check_sandbox(settings: NodeSettings) -> str:
    """Run /bin/true of this machine in a sandbox with limits and no network, read-only."""
    name = f"{_PROBE}{os.getpid()}"
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=_PROBE, ignore_cleanup_errors=True) as directory:
        Path(directory, "config.json").write_bytes(msgspec.json.encode(probe_spec(name)))
        options = [f"--root={directory}/root", f"--platform={settings.runsc_platform}", "--network=none", "--overlay2=none"]
        argv = [str(settings.runsc_path), *options, "run", f"--bundle={directory}", name]
        try:
            await run_contained(argv, failure=ConflictError)
        except ConflictError as error:
            remedy = f"Look at `{settings.runsc_path} do true`; is runsc_platform right for this machine?"
            raise ConflictError(f"A sandbox cannot be started: {error.cause}", remedy=remedy) from error
        finally:
            _remove_groups(name)
    return f"{settings.runsc_platform}, started and ended in {(time.monotonic() - started) * 1000:.0f} ms"


def probe_spec(name: str) -> dict[str, Any]:
    """The OCI config.json of the probe."""
    return {
        "ociVersion": "1.0.2",
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["/bin/true"], "env": ["PATH=/usr/bin:/bin"], "cwd": "/"},
        "root": {"path": "/", "readonly": True},
        "linux": {
            "cgroupsPath": f"/{name}",
            "resources": {"memory": {"limit": MEMORY_BYTES}, "pids": {"limit": 1024}, "cpu": {"quota": 100_000, "period": 100_000}},
            "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "network")],
        },
    }


def _remove_groups(name: str) -> None:
    """runsc removes its control groups itself, unless it was killed; so are those of doctors that were."""
    for root in find_hierarchies(kernel.mounts()).roots:
        for group in root.glob(f"{_PROBE}*"):
            if group.name == name or not Path("/proc", group.name.removeprefix(_PROBE)).exists():
                with contextlib.suppress(OSError):
                    group.rmdir()


async def check_guest(settings: NodeSettings) -> str:
    path = settings.guest_path
    remedy = "Build it: make guest"
    try:
        head = path.read_bytes()[:4096]
    except OSError as error:
        raise ConflictError(f"cove-init cannot be read at {path}: {error.strerror}.", remedy=remedy) from error
    if not is_static_elf(head):
        raise ConflictError(f"{path} is not a static program: no image can be expected to have its libraries.", remedy=remedy)
    return f"{path}, {path.stat().st_size / 2**20:.1f} MiB"


def is_static_elf(head: bytes) -> bool:
    """Whether a file that begins so is a 64-bit ELF program without an interpreter.

    Source: elf(5): ``e_phoff`` at 32, ``e_phentsize`` at 54, ``e_phnum`` at 56.
    """
    if len(head) < 64 or head[:5] != b"\x7fELF\x02":
        return False
    (table,) = struct.unpack_from("<Q", head, 32)
    size, count = struct.unpack_from("<HH", head, 54)
    entries = [head[table + index * size :][:4] for index in range(count)]
    return all(len(entry) == 4 and struct.unpack("<I", entry)[0] != _PT_INTERP for entry in entries)
