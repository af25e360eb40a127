"""Names, ids and small values that SDK and services share. Pure: no I/O, no clock."""

from __future__ import annotations

import hashlib
import re
import secrets
import stat
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Final, NewType

from cove.exception import InvalidError

SandboxId = NewType("SandboxId", str)
TaskId = NewType("TaskId", str)
AppId = NewType("AppId", str)
ExecId = NewType("ExecId", str)
NodeId = NewType("NodeId", str)
ImageId = NewType("ImageId", str)
SnapshotId = NewType("SnapshotId", str)

MAIN_EXEC_ID: Final = ExecId("main")
"""Exec id of a sandbox's main process: the command given to ``Sandbox.create``."""

EXIT_TIMEOUT: Final = 124
"""``returncode`` of what ran into a timeout, as timeout(1) has it."""

EXIT_TERMINATED: Final = 137
"""``returncode`` of what was terminated or lost: 128 + SIGKILL."""


class EndReason(StrEnum):
    """How a sandbox (later also a Function call) ended. Part of the wire contract: ``cove.v1.EndReason`` has the same names."""

    SUCCESS = "success"
    FAILURE = "failure"
    TERMINATED = "terminated"
    TIMEOUT = "timeout"
    IDLE_TIMEOUT = "idle_timeout"
    OUT_OF_MEMORY = "out_of_memory"
    INIT_FAILURE = "init_failure"
    INTERNAL_FAILURE = "internal_failure"


_NAME = re.compile(r"[A-Za-z0-9._-]+")
_ID = re.compile(r"(?P<prefix>[a-z]{2})-[A-Za-z0-9]{22}")
_ID_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID_LENGTH: Final = 22
_ID_SPACE: Final = len(_ID_ALPHABET) ** _ID_LENGTH


def new_id(prefix: str) -> str:
    """A fresh id such as ``sb-3xK…``: the prefix, a dash and 22 random base-62 characters (131 bits)."""
    # One draw for all characters: a draw each is 22 system calls, which a router notices.
    number, characters = secrets.randbelow(_ID_SPACE), []
    for _ in range(_ID_LENGTH):
        number, digit = divmod(number, len(_ID_ALPHABET))
        characters.append(_ID_ALPHABET[digit])
    return f"{prefix}-{''.join(characters)}"


def derived_id(prefix: str, *parts: bytes) -> str:
    """The id that these ``parts`` always give, in the form of :func:`new_id`: for what must be the same thing when asked for again."""
    digest = hashlib.sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).digest()
    number, characters = int.from_bytes(digest, "big"), []
    for _ in range(_ID_LENGTH):
        number, digit = divmod(number, len(_ID_ALPHABET))
        characters.append(_ID_ALPHABET[digit])
    return f"{prefix}-{''.join(characters)}"


def is_id(text: str, prefix: str) -> bool:
    """Whether ``text`` has the form that :func:`new_id` gives for ``prefix``."""
    match = _ID.fullmatch(text)
    return match is not None and match["prefix"] == prefix


def check_name(name: str, *, what: str, max_length: int = 64) -> str:
    """Return ``name`` if it may name a ``what`` (an App, a Sandbox).

    Raises:
        InvalidError: empty, longer than ``max_length``, or with characters outside ``[A-Za-z0-9._-]``.
    """
    if not name or len(name) > max_length or not _NAME.fullmatch(name):
        raise InvalidError(
            f"{what} name {name[:80]!r} is not valid.",
            remedy=f"Use 1 to {max_length} letters, digits, dashes, periods and underscores.",
        )
    return name


@dataclass(frozen=True, slots=True)
class FileStat:
    """What a sandbox says of one of its files.

    Attributes:
        name: last component of the path.
        mode: permissions and type, as ``os.stat`` has them.
        mtime_ns: last change of the content, Unix time in nanoseconds.
        link_target: where a symbolic link leads; None for everything else.
    """

    name: str
    mode: int
    uid: int
    gid: int
    size_bytes: int
    mtime_ns: int
    link_target: str | None = None

    def is_dir(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.mode)

    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(self.mode)


@dataclass(frozen=True, slots=True)
class MachineKind:
    """What a machine must be to restore a memory snapshot.

    Attributes:
        architecture: as ``uname -m`` has it.
        runsc_version: of gVisor.
        platform: gVisor's, such as ``systrap``.
        cpu_features: as /proc/cpuinfo lists them, sorted.
        runsc_build: the very build of that version; empty: any.
    """

    architecture: str
    runsc_version: str
    platform: str
    cpu_features: tuple[str, ...]
    runsc_build: str = ""


@dataclass(frozen=True, slots=True)
class SnapshotProcess:
    """A process that a memory snapshot has.

    Attributes:
        exec_id: by which ``Sandbox.process`` finds it in a restored sandbox, too; ``main`` is the sandbox's own.
        pty: whether it is on a terminal.
        program: name of its program, without arguments.
    """

    exec_id: str
    pid: int
    pty: bool
    program: str


@dataclass(frozen=True, slots=True)
class SnapshotChild:
    """A process that a memory snapshot has and that nobody started by ``exec``: others in there did.

    Attributes:
        program: as it calls itself, at most 15 bytes of it.
    """

    pid: int
    parent_pid: int
    program: str


@dataclass(frozen=True, slots=True)
class SnapshotPort:
    """Where something in a memory snapshot waits for others.

    Attributes:
        protocol: ``tcp``: it listens; ``udp``: bound, without a peer. UDP over IPv6 is not seen.
        address: such as ``0.0.0.0`` or ``::``.
    """

    protocol: str
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """What the server knows of a memory snapshot. Times are Unix seconds.

    Attributes:
        sandbox_id: whose it is.
        parent_snapshot_id: what that sandbox was restored from; None: it was created afresh.
        image_id: the files alone, as an image. It goes with the snapshot.
        expires_at: when it goes by itself; None: it is kept until it is deleted.
        pinned: it neither expires nor can be deleted.
        memory_bytes: on the disk of its node.
        stored: whether the store has it, so that every machine of its kind can restore it.
        stopped_s: how long the sandbox stood still for it.
        children: processes that those in ``processes`` started, right before the sandbox stood still; None: not known.
        ports: likewise, what listened.
    """

    snapshot_id: str
    sandbox_id: str
    parent_snapshot_id: str | None
    image_id: str
    created_at: float
    expires_at: float | None
    pinned: bool
    memory_bytes: int
    stored: bool
    stopped_s: float
    processes: tuple[SnapshotProcess, ...]
    machine: MachineKind
    children: tuple[SnapshotChild, ...] | None = None
    ports: tuple[SnapshotPort, ...] | None = None


@dataclass(frozen=True, slots=True)
class ProcessChange:
    """What became of a process from one memory snapshot to another.

    Attributes:
        kind: ``started``, ``ended`` or ``kept``.
        exec_id: None of one that nobody started by ``exec``.
    """

    kind: str
    exec_id: str | None
    pid: int
    program: str


@dataclass(frozen=True, slots=True)
class PortChange:
    """What began or ceased to listen from one memory snapshot to another.

    Attributes:
        kind: ``opened`` or ``closed``.
    """

    kind: str
    port: SnapshotPort


class FileWatchEventType(Enum):
    """What happened to a watched file."""

    Unknown = "Unknown"
    Access = "Access"
    Create = "Create"
    Modify = "Modify"
    Remove = "Remove"


@dataclass
class FileWatchEvent:
    """Something happened to ``paths``: one, or two (from, to) for a rename inside the watch.

    Without paths and with type ``Unknown``: events came faster than they could be told, and some are lost.
    """

    paths: list[str]
    type: FileWatchEventType


@dataclass(frozen=True, slots=True)
class NetworkRecord:
    """Attempts of a sandbox to reach something: all of one kind, that is with the same values but for count and times.

    Attributes:
        event: ``egress_allowed`` or ``egress_denied``.
        protocol: ``tcp``, ``udp``, ``icmp``, ``dns`` (a name that was asked for), or a number.
        address: empty where a name was refused before there was one.
        port: 0 where the protocol has none.
        name: for which the sandbox was given the address, or that the connection named; empty where none is known.
        rule: what decided, such as ``cidr``, ``domain``, ``not_listed``, ``private``; see docs/networking.md.
        remedy: of a denied one: the policy line that would allow it, or who can.
        count: how often; a sandbox that tries very much in a short time is not counted to the last.
        first_at, last_at: Unix seconds.
    """

    event: str
    protocol: str
    address: str
    port: int
    name: str
    rule: str
    remedy: str
    count: int
    first_at: float
    last_at: float


@dataclass(frozen=True, slots=True)
class NetworkSummary:
    """What a sandbox may reach, and has reached.

    Attributes:
        mode: ``open``, ``blocked``, ``allowlist`` or ``record``.
        cidr_allowlist, domain_allowlist, proxy: of the policy in force.
        used_cidrs, used_domains: the smallest lists that permit what it reached so far.
        allowed, denied: how many attempts there were.
    """

    mode: str
    cidr_allowlist: list[str]
    domain_allowlist: list[str]
    proxy: str
    used_cidrs: list[str]
    used_domains: list[str]
    allowed: int
    denied: int


@dataclass(frozen=True, slots=True)
class TerminalLink:
    """Opens a terminal in a web browser, once.

    Attributes:
        url: a secret until it was opened: it ends with the token. ``repr`` hides it.
        expires_at: Unix seconds: when it can be opened no more.
    """

    url: str = field(repr=False)
    expires_at: float


@dataclass(frozen=True, slots=True)
class FileChange:
    """One difference between two file systems.

    Attributes:
        path: absolute; bytes of it that are not UTF-8 are surrogate escapes, as ``os.fsdecode`` has them.
        kind: ``added``, ``removed``, ``changed`` (content or type) or ``metadata`` (anything but the content: mode, owner, times).
    """

    path: str
    kind: str


@dataclass(frozen=True, slots=True)
class SnapshotDiff:
    """What is different between two memory snapshots.

    Attributes:
        files: sorted by path.
        processes: all that either has, by pid. Of those that nobody started by ``exec`` only if it is known of both.
        ports: None: it is not known of both.
    """

    files: tuple[FileChange, ...]
    processes: tuple[ProcessChange, ...]
    ports: tuple[PortChange, ...] | None
