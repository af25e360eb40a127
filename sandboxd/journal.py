"""What a daemon must remember of its sandboxes to take them over after its own death.

One directory per sandbox below ``<state>/node/sandboxes``:

- ``sandbox.json``: the request, the lifecycle record and the guest marker; replaced atomically at every change of state.
- ``execs.log``: one JSON line when a process starts and one when it ends; appended, never rewritten while the sandbox lives.
- ``output/``: the spools.

Environment variables hold secrets: they are sealed with a key of the node (AES-256-GCM, the sandbox id as associated data).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cove.types import SandboxId, TaskId, is_id
from policies.egress import EgressPolicy
from sandboxd.channel.frames import MARKER_BYTES
from sandboxd.kernel import sync_directory
from sandboxd.lifecycle import Result, State

FORMAT: Final = 1
NONCE_BYTES: Final = 12


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """A sandbox's shape after defaults: requests are reserved, limits are enforced."""

    cpu_request_millis: int
    cpu_limit_millis: int
    memory_request_bytes: int
    memory_limit_bytes: int
    disk_limit_bytes: int
    max_tasks: int


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """One layer of an image; see ``LayerRef`` of the wire contract."""

    layer_id: str = ""
    base: str = ""
    digest: str = ""
    diff_id: str = ""
    size_bytes: int = 0
    foreign: bool = False


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """What a sandbox's file system stands on."""

    image_id: str = ""
    """Empty: a base that every node makes itself, known by its one layer."""
    layers: tuple[Layer, ...]
    """The lowest first; the lowest may be a base. None: an image without files."""
    env: Mapping[str, str] = {}
    user: str = ""
    """Who processes run as that name nobody; empty: root."""

    @property
    def base(self) -> str:
        """The base that it stands on, ``debian:3.11``; empty: none."""
        return self.layers[0].base if self.layers else ""


class MemoryRef(msgspec.Struct, frozen=True, kw_only=True):
    """A memory snapshot; see ``MemoryRef`` of the wire contract."""

    snapshot_id: str
    digest: str = ""
    diff_id: str = ""
    size_bytes: int = 0


class Entry(msgspec.Struct, kw_only=True):
    """sandbox.json. Times are Unix seconds, 0 = not yet."""

    format: int = FORMAT
    sandbox_id: SandboxId
    task_id: TaskId
    command: list[bytes]
    """argv of the main process; base64 in the file, as it need not be text."""
    workdir: str
    timeout_s: int
    idle_timeout_s: int
    resources: Resources
    image: Image
    guest_layer: str = ""
    """The lower directory with ``cove-init`` that it has mounted, once it is."""
    runsc_build: str = ""
    """What made its container, once it is; empty: an older cove did."""
    restore: MemoryRef | None = None
    """The memory that it goes on from; None: it boots."""
    build: bool = False
    """A step of an image build, which finds the machine's package settings."""
    network: EgressPolicy
    pty: bool
    verbose: bool
    pause_on_idle: bool = False
    """Instead of ending then."""
    pause_on_timeout: bool = False
    guest_marker: str
    """Hexadecimal."""
    state: State = State.PENDING
    result: Result | None = None
    created_at: float
    started_at: float = 0
    expires_at: float = 0
    ended_at: float = 0
    boot_id: str = ""
    """The kernel's boot id when its container was made: containers do not survive a reboot."""
    paused_at: float = 0
    """Set: its memory is on disk, whole, and that is what counts."""
    left_s: float = 0
    """Of its lifetime when it was paused; 0: that was over, and begins anew."""

    def paused(self, now: float) -> Entry:
        """As it is when all of it is on disk."""
        return msgspec.structs.replace(self, paused_at=now, left_s=max(0.0, self.expires_at - now), expires_at=0)


class ExecStarted(msgspec.Struct, frozen=True, kw_only=True, tag="start"):
    exec_id: str
    request_hash: str
    argv: list[bytes]
    pty: bool
    timeout_s: float
    started_at: float


class ExecEnded(msgspec.Struct, frozen=True, kw_only=True, tag="end"):
    exec_id: str
    state: str
    exit_code: int
    signal: int
    ended_at: float


class SandboxDirectory:
    """One sandbox's part of the journal."""

    def __init__(self, path: Path, key: AESGCM) -> None:
        self.path = path
        self._key = key
        self._execs_fd = -1

    @property
    def sandbox_id(self) -> SandboxId:
        return SandboxId(self.path.name)

    @property
    def output(self) -> Path:
        return self.path / "output"

    def create(self, entry: Entry, env: Mapping[str, str]) -> None:
        """Write the first entry. Raises: FileExistsError."""
        self.path.mkdir(mode=0o700)
        self.output.mkdir(mode=0o700)
        self.save_env(env)
        self.save(entry)

    def save_env(self, env: Mapping[str, str]) -> None:
        """Seal and store the environment that processes of the sandbox get."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = self._key.encrypt(nonce, msgspec.json.encode(dict(env)), self.sandbox_id.encode())
        temporary = self.path / "env.sealed.new"
        temporary.write_bytes(nonce + sealed)
        temporary.replace(self.path / "env.sealed")

    def save(self, entry: Entry) -> None:
        """Replace sandbox.json: a reader sees the old one or the new one. Raises: OSError: the disk is full."""
        temporary = self.path / "sandbox.json.new"
        temporary.write_bytes(msgspec.json.encode(entry))
        temporary.replace(self.path / "sandbox.json")

    def save_for_good(self, entry: Entry) -> None:
        """As :meth:`save`, and it outlives a power cut. Blocking. Raises: OSError."""
        temporary = self.path / "sandbox.json.new"
        with temporary.open("wb") as file:
            file.write(msgspec.json.encode(entry))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path / "sandbox.json")
        sync_directory(self.path)

    def load(self) -> Entry | None:
        """The entry, or None if its creation was cut short."""
        try:
            entry = msgspec.json.decode((self.path / "sandbox.json").read_bytes(), type=Entry)
        except (FileNotFoundError, msgspec.DecodeError):
            return None
        return entry if entry.format == FORMAT else None

    def load_env(self) -> dict[str, str]:
        """Raises: OSError, InvalidTag: missing or altered."""
        data = (self.path / "env.sealed").read_bytes()
        plain = self._key.decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], self.sandbox_id.encode())
        return msgspec.json.decode(plain, type=dict[str, str])

    def forget_env(self) -> None:
        """The sandbox has ended: its secrets are not needed any more."""
        (self.path / "env.sealed").unlink(missing_ok=True)

    def append(self, line: ExecStarted | ExecEnded) -> None:
        """Raises: OSError: the disk is full."""
        if self._execs_fd < 0:
            self._execs_fd = os.open(self.path / "execs.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.write(self._execs_fd, msgspec.json.encode(line) + b"\n")

    def execs(self) -> list[ExecStarted | ExecEnded]:
        """Every line; one that was cut short by a crash is left out."""
        lines: list[ExecStarted | ExecEnded] = []
        with contextlib.suppress(FileNotFoundError):
            for line in (self.path / "execs.log").read_bytes().splitlines():
                with contextlib.suppress(msgspec.DecodeError):
                    lines.append(msgspec.json.decode(line, type=ExecStarted | ExecEnded))
        return lines

    def copy_processes(self, target: Path) -> None:
        """Copy records and output of all processes into ``target``. Blocking. Raises: OSError."""
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(self.path / "execs.log", target / "execs.log")
        shutil.copytree(self.output, target / "output")

    def take_processes(self, source: Path) -> None:
        """Undo :meth:`copy_processes` into a sandbox that has no processes yet. Blocking. Raises: OSError."""
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(source / "execs.log", self.path / "execs.log")
        shutil.copytree(source / "output", self.output, dirs_exist_ok=True)

    def close(self) -> None:
        if self._execs_fd >= 0:
            os.close(self._execs_fd)
            self._execs_fd = -1

    def remove(self) -> None:
        """Forget the sandbox and its output. Idempotent."""
        self.close()
        shutil.rmtree(self.path, ignore_errors=True)


class Journal:
    """All sandboxes of a node.

    Args:
        directory: ``<state>/node``; made if missing.
    """

    def __init__(self, directory: Path) -> None:
        self._sandboxes = directory / "sandboxes"
        self._sandboxes.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._key = AESGCM(_key(directory / "journal.key"))

    def directory(self, sandbox_id: SandboxId) -> SandboxDirectory:
        return SandboxDirectory(self._sandboxes / sandbox_id, self._key)

    def policy_of(self, sandbox_id: SandboxId) -> EgressPolicy | None:
        """The egress policy that was written down last; None of a sandbox that is not remembered."""
        entry = self.directory(sandbox_id).load()
        return entry.network if entry else None

    def list_(self) -> list[SandboxDirectory]:
        """Every sandbox remembered, in no order."""
        return [SandboxDirectory(path, self._key) for path in self._sandboxes.iterdir() if is_id(path.name, "sb")]


def _key(path: Path) -> bytes:
    """The node's sealing key, made at first use, 0600."""
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        key = secrets.token_bytes(32)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(key)
    return key


def new_guest_marker() -> str:
    """For ``Entry.guest_marker``: no guest can know it before it is greeted with it."""
    return secrets.token_bytes(MARKER_BYTES).hex()


def boot_id() -> str:
    """Differs after every reboot. Source: proc(5), /proc/sys/kernel/random/boot_id."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
