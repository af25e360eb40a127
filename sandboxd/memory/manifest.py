"""A memory snapshot's ``manifest.json``: what belongs to it, and the hash of every file. No secret and nothing of the user's is in it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

import msgspec

from cove.exception import DataLossError
from cove.wire import common_pb2, snapshot_pb2
from sandboxd.memory.layout import MANIFEST
from sandboxd.memory.machine import Machine
from sandboxd.memory.reading import damaged, open_regular, read_small
from sandboxd.memory.seen import MAX_PROGRAM, SeenChild, SeenPort

FORMAT: Final = 1
MAX_BYTES: Final = 16 * 2**20


class KeptFile(msgspec.Struct, frozen=True):
    """A regular file of the snapshot."""

    size_bytes: int
    sha256: str


class SeenProcess(msgspec.Struct, frozen=True, kw_only=True):
    """A process that runs in the snapshot; its program without arguments."""

    exec_id: str
    pid: int
    pty: bool
    program: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept beside the files."""

    format: int = FORMAT
    snapshot_id: str
    layer_id: str
    machine: Machine
    stopped_s: float
    processes: tuple[SeenProcess, ...]
    children: tuple[SeenChild, ...] | None = None
    ports: tuple[SeenPort, ...] | None = None
    """Both as of right before the sandbox stood still; None: see ``Census``, or an older cove took it."""
    files: Mapping[str, KeptFile]
    """By path below the snapshot's directory."""

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files.values())

    def to_wire(self, spec: common_pb2.SandboxSpec) -> snapshot_pb2.MemorySnapshotResponse:
        """What the router is told of a snapshot of a sandbox of this ``spec``."""
        taken = snapshot_pb2.MemorySnapshotResponse(
            stopped_s=self.stopped_s,
            memory_bytes=self.size_bytes,
            machine=self.machine.to_wire(),
            spec=spec,
            processes=[snapshot_pb2.SnapshotProcess(**msgspec.structs.asdict(seen)) for seen in self.processes],
        )
        if self.children is not None:
            children = [snapshot_pb2.SnapshotChild(**msgspec.structs.asdict(seen)) for seen in self.children]
            taken.children.CopyFrom(snapshot_pb2.SnapshotChildren(children=children))
        if self.ports is not None:
            ports = [snapshot_pb2.SnapshotPort(**msgspec.structs.asdict(seen)) for seen in self.ports]
            taken.ports.CopyFrom(snapshot_pb2.SnapshotPorts(ports=ports))
        return taken


def hash_files(directory: Path) -> dict[str, KeptFile]:
    """Every regular file below ``directory`` but the manifest. Blocking, at some GB/s. Raises: OSError."""
    return {name: _hashed(directory / name) for name in _names(directory)}


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Raises: OSError."""
    (directory / MANIFEST).write_bytes(msgspec.json.encode(manifest))


def read_manifest(directory: Path) -> Manifest:
    """Raises: DataLossError: it is missing, or not one of ours."""
    try:
        manifest = msgspec.json.decode(read_small(directory / MANIFEST, MAX_BYTES), type=Manifest)
    except (OSError, msgspec.MsgspecError) as error:
        raise DataLossError("The snapshot's manifest is missing or damaged.", remedy="Delete the snapshot; take another.") from error
    if manifest.format != FORMAT:
        raise DataLossError(f"The snapshot has the format {manifest.format}; {FORMAT} is understood.", remedy="Use the cove that took it.")
    return manifest


def check_files(directory: Path, manifest: Manifest) -> None:
    """Pass if every file is there with the bytes it had, and no other. Blocking.

    Raises:  DataLossError: naming the first that is not.
    """
    try:
        names = set(_names(directory))
        for name in sorted(names ^ manifest.files.keys()):
            raise damaged(name, "is missing" if name in manifest.files else "does not belong to it")
        for name, kept in manifest.files.items():
            if (directory / name).stat().st_size != kept.size_bytes:
                raise damaged(name, "has another size than it had")
            if _hashed(directory / name) != kept:
                raise damaged(name, "has other bytes than it had")
    except OSError as error:
        raise damaged(Path(error.filename or "a file").name, f"cannot be read ({error.strerror})") from error


def look_of(directory: Path) -> tuple[tuple[str, int, int, int, int], ...]:
    """What changes when a file does, cheaply: names, inodes, sizes, times of change."""
    found = []
    for name in [MANIFEST, *_names(directory)]:
        status = (directory / name).lstat()
        found.append((name, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
    return tuple(found)


def _names(directory: Path) -> Iterator[str]:
    """Paths of the files below ``directory``, sorted. What is neither file nor directory is named, too, and fails to hash."""
    for root, directories, names in os.walk(directory):
        directories.sort()
        links = [name for name in directories if Path(root, name).is_symlink()]  # not gone into, and no file, but followed by who reads
        for name in sorted([*names, *links]):
            path = Path(root, name).relative_to(directory).as_posix()
            if path != MANIFEST:
                yield path


def _hashed(path: Path) -> KeptFile:
    with os.fdopen(open_regular(path), "rb") as file:
        return KeptFile(os.fstat(file.fileno()).st_size, hashlib.file_digest(file, "sha256").hexdigest())


def program_of(argv: Sequence[bytes]) -> str:
    """The name of a command's program, without its directory and its arguments. Pure."""
    return PurePosixPath(argv[0].decode("utf-8", "replace")).name[:MAX_PROGRAM] if argv else ""
