"""The state of the fake: sandboxes, processes, files, tokens, and the faults that a test asked for."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Final

from cove.types import new_id
from cove.wire import common_pb2, control_pb2, data_pb2, image_pb2, ingress_pb2, network_pb2, snapshot_pb2

TOKEN_ID: Final = "ak-test"
TOKEN_SECRET: Final = "as-test"


class Change:
    """Wakes up all who wait for the next change."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def tell(self) -> None:
        event, self._event = self._event, asyncio.Event()
        event.set()

    async def wait(self, timeout_s: float | None = None) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        except TimeoutError:
            pass


@dataclass
class Output:
    """One output stream. ``held_from``: earlier bytes are dropped, as by a spool's cap."""

    data: bytearray = field(default_factory=bytearray)
    dropped: list[tuple[int, int]] = field(default_factory=list)
    ended: bool = False
    changed: Change = field(default_factory=Change)

    def write(self, data: bytes) -> None:
        self.data += data
        self.changed.tell()

    def drop(self, start: int, end: int) -> None:
        """Forget the bytes from ``start`` to ``end``."""
        self.dropped.append((start, end))

    def end(self) -> None:
        self.ended = True
        self.changed.tell()

    def piece(self, offset: int, most: int) -> tuple[int, bytes]:
        """What is held from ``offset`` on, up to the next gap."""
        for start, end in self.dropped:
            if start <= offset < end:
                offset = end
        stop = min([offset + most, len(self.data), *(start for start, _ in self.dropped if start > offset)])
        return offset, bytes(self.data[offset:stop])


@dataclass
class Process:
    """A process that does what the test says, or what its command is known for."""

    status: data_pb2.ProcessStatus
    request: bytes = b""
    outputs: dict[int, Output] = field(default_factory=lambda: {1: Output(), 2: Output()})
    stdin: bytearray = field(default_factory=bytearray)
    signals: list[tuple[int, bool]] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    changed: Change = field(default_factory=Change)

    @property
    def running(self) -> bool:
        return self.status.state == data_pb2.PROCESS_STATE_RUNNING

    def write(self, data: bytes, fd: int = 1) -> None:
        self.outputs[fd].write(data)

    def end(self, exit_code: int = 0, state: data_pb2.ProcessState = data_pb2.PROCESS_STATE_EXITED) -> None:
        for output in self.outputs.values():
            output.end()
        self.status.state, self.status.exit_code = state, exit_code
        self.status.stdout_bytes, self.status.stderr_bytes = len(self.outputs[1].data), len(self.outputs[2].data)
        self.changed.tell()


@dataclass
class Sandbox:
    """One sandbox and everything in it."""

    info: control_pb2.SandboxInfo
    spec: common_pb2.SandboxSpec
    processes: dict[str, Process] = field(default_factory=dict)
    files: dict[bytes, bytearray] = field(default_factory=dict)
    modes: dict[bytes, int] = field(default_factory=dict)
    directories: set[bytes] = field(default_factory=lambda: {b"/"})
    handles: dict[int, tuple[bytes, int, int]] = field(default_factory=dict)  # path, flags, position
    watch_events: deque[data_pb2.FileWatchEvent] = field(default_factory=deque)
    network: list[network_pb2.NetworkRecord] = field(default_factory=list)
    changed: Change = field(default_factory=Change)

    def end(self, reason: common_pb2.EndReason, exit_code: int, message: str = "") -> None:
        result = common_pb2.SandboxResult(reason=reason, exit_code=exit_code, message=message)
        self.info.status.CopyFrom(
            common_pb2.SandboxStatus(sandbox_id=self.info.sandbox_id, state=common_pb2.SANDBOX_STATE_STOPPED, result=result)
        )
        for process in self.processes.values():
            if process.running:
                process.end(137, data_pb2.PROCESS_STATE_LOST)
        self.changed.tell()


@dataclass
class Images:
    """Images, and the blobs that builds need.

    Attributes:
        logs: what every build tells.
        fail_with: what every build ends with.
        end_early: how many builds' streams end without an image, cleanly.
        changes: what every question for differences is answered with.
        at_once: uploads that run now; ``most_at_once``: the most that ever did.
        hold: uploads wait for it.
    """

    known: dict[str, image_pb2.ImageInfo] = field(default_factory=dict)
    builds: list[image_pb2.ImageBuildRequest] = field(default_factory=list)
    logs: list[image_pb2.ImageBuildLog] = field(default_factory=list)
    fail_with: Exception | None = None
    end_early: int = 0
    pushes: list[image_pb2.ImagePushRequest] = field(default_factory=list)
    prunes: list[image_pb2.ImagePruneRequest] = field(default_factory=list)
    snapshots: list[image_pb2.SandboxSnapshotFilesystemRequest] = field(default_factory=list)
    by_key: dict[str, image_pb2.ImageInfo] = field(default_factory=dict)
    changes: list[image_pb2.FileChange] = field(default_factory=list)
    blobs: dict[bytes, bytes] = field(default_factory=dict)
    at_once: int = 0
    most_at_once: int = 0
    hold: asyncio.Event | None = None

    def add(self, source: str) -> image_pb2.ImageInfo:
        """A new image."""
        info = image_pb2.ImageInfo(image_id=new_id("im"), source=source, created_at=1.0, layers=2, size_bytes=3 * 2**20, stored=True)
        self.known[info.image_id] = info
        return info


@dataclass
class Memories:
    """Memory snapshots.

    Attributes:
        room: how many more restores succeed.
        restored: restores that are done answer when it is set.
    """

    known: dict[str, snapshot_pb2.SnapshotInfo] = field(default_factory=dict)
    taken: list[snapshot_pb2.SandboxSnapshotRequest] = field(default_factory=list)
    restores: list[snapshot_pb2.SandboxRestoreRequest] = field(default_factory=list)
    by_key: dict[str, snapshot_pb2.SnapshotInfo] = field(default_factory=dict)
    damaged: set[str] = field(default_factory=set)
    room: int = 1000
    restored: asyncio.Event | None = None

    def add(self, sandbox_id: str, ttl_s: float = 0) -> snapshot_pb2.SnapshotInfo:
        """A new snapshot."""
        info = snapshot_pb2.SnapshotInfo(
            snapshot_id=new_id("sn"),
            sandbox_id=sandbox_id,
            image_id=new_id("im"),
            created_at=1.0,
            expires_at=ttl_s,
            memory_bytes=3 * 2**20,
            stopped_s=0.05,
            processes=[snapshot_pb2.SnapshotProcess(exec_id="main", pid=2, program="python3")],
            machine=snapshot_pb2.MachineKind(architecture="x86_64", runsc_version="r-1", platform="systrap", cpu_features=["sse2"]),
        )
        self.known[info.snapshot_id] = info
        return info


class World:
    """Everything that the fake knows.

    Attributes:
        calls: how often each method was called.
        cut_after: chunks after which every output stream is cut, each time it is asked for; None lets them be.
        end_early: cut streams end cleanly, without their end mark, instead of with an error.
        fail_next: errors that the next calls of a method are answered with.
    """

    def __init__(self) -> None:
        self.tokens = {TOKEN_ID: control_pb2.TokenInfo(token_id=TOKEN_ID, name="first", created_at=1.0)}
        self.apps: dict[str, str] = {}
        self.sandboxes: dict[str, Sandbox] = {}
        self.pythons = ["3.11", "3.12"]
        self.proxies = ["exit"]
        self.proxies_asked = 0
        self.pulled: list[str] = []
        self.server_version = "0.1.0"
        self.node_address = ""
        self.node_http_url = ""
        self.told_http_url = ""
        """What the router says of itself."""
        self.calls: Counter[str] = Counter()
        self.terminals: list[control_pb2.TerminalCreateRequest] = []
        self._called = Change()
        self.chunk_bytes = 64 * 1024
        self.cut_after: int | None = None
        self.end_early = False
        self.fail_next: dict[str, list[Exception]] = {}
        self.archive: bytes = b""  # what a GET of any archive answers
        self.uploaded: dict[str, bytes] = {}  # archives by path
        self.images = Images()
        self.memories = Memories()
        self.connect_tokens: dict[str, ingress_pb2.ConnectTokenCreateRequest] = {}
        self.waits: list[float] = []  # how long each question for tunnels was ready to wait
        self.not_running = 0  # questions for tunnels that are answered with a timeout
        self._token = 0
        self._keys: dict[str, tuple[bytes, str]] = {}

    @property
    def token(self) -> str:
        """The access token that is good now."""
        return f"token-{self._token}"

    def expire_tokens(self) -> None:
        """Every access token given so far is no longer good."""
        self._token += 1

    def count(self, method: str) -> None:
        """Note a call."""
        self.calls[method] += 1
        self._called.tell()

    async def until_called(self, method: str, times: int = 1) -> None:
        """Return once ``method`` was called at least so often."""
        while self.calls[method] < times:
            await self._called.wait()

    def access(self) -> common_pb2.Access:
        return common_pb2.Access(grpc_address=self.node_address, http_url=self.node_http_url, token=self.token)

    def create(self, request: control_pb2.SandboxCreateRequest) -> Sandbox:
        if request.idempotency_key in self._keys:
            return self.sandboxes[self._keys[request.idempotency_key][1]]
        sandbox_id = new_id("sb")
        info = control_pb2.SandboxInfo(
            sandbox_id=sandbox_id, task_id=new_id("ta"), app_id=request.app_id, name=request.name, tags=request.tags
        )
        info.status.sandbox_id, info.status.state = sandbox_id, common_pb2.SANDBOX_STATE_RUNNING
        sandbox = self.sandboxes[sandbox_id] = Sandbox(info, request.spec)
        self._keys[request.idempotency_key] = (request.SerializeToString(), sandbox_id)
        if request.spec.command:
            status = data_pb2.ProcessStatus(exec_id="main", state=data_pb2.PROCESS_STATE_RUNNING, argv=request.spec.command)
            sandbox.processes["main"] = Process(status)
        return sandbox

    @property
    def only(self) -> Sandbox:
        """The one sandbox there is."""
        (sandbox,) = self.sandboxes.values()
        return sandbox

    @property
    def last_process(self) -> Process:
        """The process that was started last."""
        return list(self.only.processes.values())[-1]
