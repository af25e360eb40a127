"""Sandboxes of a live cove by bare gRPC calls: for tests that break things under a client and must not be helped by its retries."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any, Final
from urllib.parse import quote

import grpc

from cove.exception import ConnectionError, Error
from cove.types import new_id
from cove.wire import common_pb2, control_pb2, control_pb2_grpc, data_pb2, data_pb2_grpc, image_pb2, network_pb2, snapshot_pb2
from cove.wire.errors import decode
from tests.support.live_cove import LiveCove

CALL_S: Final = 30.0
"""Deadline of every call: a test fails with the call that hangs, not with its own time-out."""

BUILD_S: Final = 100.0
"""Deadline of a build, all its steps together."""

STOPPED: Final = common_pb2.SANDBOX_STATE_STOPPED
RUNNING: Final = common_pb2.SANDBOX_STATE_RUNNING

Metadata = tuple[tuple[str, str], ...]

_CHANNEL_OPTIONS: Final = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
    ("grpc.max_receive_message_length", 64 * 2**20),
)


def error_of(error: grpc.RpcError) -> Error:
    """What the other side raised."""
    call: Any = error  # blocking calls raise themselves
    return decode(
        grpc.aio.AioRpcError(call.code(), grpc.aio.Metadata(), grpc.aio.Metadata(*call.trailing_metadata()), call.details(), None)
    )


class Stub:
    """A generated stub whose calls have metadata and a deadline, wait for the server to be up, and raise cove's errors."""

    def __init__(self, stub: Any, metadata: Callable[[], Metadata]) -> None:
        self._stub, self._metadata = stub, metadata

    def __getattr__(self, method: str) -> Callable[..., Any]:
        return functools.partial(self._call, method)

    def _call(self, method: str, request: Any, *, metadata: Metadata | None = None) -> Any:
        chosen = self._metadata() if metadata is None else metadata
        try:
            return getattr(self._stub, method)(request, metadata=chosen, timeout=CALL_S, wait_for_ready=True)
        except grpc.RpcError as error:
            raise error_of(error) from error

    def stream(self, method: str, request: Any, *, timeout_s: float = CALL_S) -> Iterator[Any]:
        """The answers of a streaming call as they come. Left early, the call ends."""
        call = getattr(self._stub, method)(request, metadata=self._metadata(), timeout=timeout_s, wait_for_ready=True)
        try:
            yield from call
        except grpc.RpcError as error:
            raise error_of(error) from error
        finally:
            call.cancel()


class RawClient:
    """A client of one instance's router."""

    def __init__(self, live: LiveCove) -> None:
        token_id, secret = live.credentials
        self._metadata: Metadata = (("cove-token-id", token_id), ("cove-token-secret", secret))
        self._channel = grpc.insecure_channel(f"127.0.0.1:{live.router_port}", options=_CHANNEL_OPTIONS)
        self._node = grpc.insecure_channel(f"127.0.0.1:{live.node_port}", options=_CHANNEL_OPTIONS)
        self.control = Stub(control_pb2_grpc.ControlStub(self._channel), lambda: self._metadata)  # type: ignore[no-untyped-call]  # generated
        self.data_stub = data_pb2_grpc.DataPlaneStub(self._node)  # type: ignore[no-untyped-call]  # generated
        self._http_url = f"http://127.0.0.1:{live.router_http_port}"
        self.app_id: str = self.control.AppLookup(control_pb2.AppLookupRequest(name="raw", create_if_missing=True)).app_id

    def close(self) -> None:
        self._channel.close()
        self._node.close()

    def create(self, *command: str, name: str = "", **spec: Any) -> RawSandbox:
        """A sandbox without a network; returns at once. ``spec``: fields of SandboxSpec, with those of Resources beside them."""
        limits = {field: spec.pop(field) for field in common_pb2.Resources.DESCRIPTOR.fields_by_name if field in spec}
        spec.setdefault("network", network_pb2.NetworkPolicy(mode=network_pb2.NETWORK_MODE_BLOCKED))
        wanted = common_pb2.SandboxSpec(
            command=[argument.encode() for argument in command], resources=common_pb2.Resources(**limits), **spec
        )
        request = control_pb2.SandboxCreateRequest(idempotency_key=new_id("ik"), app_id=self.app_id, name=name, spec=wanted)
        deadline = time.monotonic() + CALL_S
        while True:
            try:
                return RawSandbox(self, self.control.SandboxCreate(request))
            except ConnectionError:  # the router has not found a restarted node again yet; the key makes asking again safe
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def ready(self, *command: str, **spec: Any) -> RawSandbox:
        """A sandbox that has answered."""
        sandbox = self.create(*command, **spec)
        assert sandbox.run("true").exit_code == 0
        return sandbox

    # --- memory snapshots ----------------------------------------------------------------------------------------------------------------

    def restore(self, snapshot: snapshot_pb2.SnapshotInfo, **overrides: Any) -> RawSandbox:
        """A sandbox that goes on from memory; returns at once."""
        request = snapshot_pb2.SandboxRestoreRequest(idempotency_key=new_id("ik"), snapshot_id=snapshot.snapshot_id, **overrides)
        return RawSandbox(self, self.control.SandboxRestore(request))

    def snapshots(self) -> dict[str, snapshot_pb2.SnapshotInfo]:
        """All there are, by id."""
        listing = self.control.SnapshotList(snapshot_pb2.SnapshotListRequest(limit=500))
        return {snapshot.snapshot_id: snapshot for snapshot in listing.snapshots}

    def stored_snapshot(self, snapshot: snapshot_pb2.SnapshotInfo, timeout_s: float = 40.0) -> None:
        """Return when all of it is in the store."""
        deadline = time.monotonic() + timeout_s
        while not (info := self.snapshots()[snapshot.snapshot_id]).stored:
            assert time.monotonic() < deadline, info
            time.sleep(0.05)

    # --- images --------------------------------------------------------------------------------------------------------------------------

    def ready_from(self, image: image_pb2.ImageInfo, *command: str, **spec: Any) -> RawSandbox:
        """A sandbox of an image that has answered."""
        return self.ready(*command, image=common_pb2.ImageRef(image_id=image.image_id), **spec)

    def image(self, image_id: str) -> image_pb2.ImageInfo:
        info: image_pb2.ImageInfo = self.control.ImageGet(image_pb2.ImageGetRequest(image_id=image_id))
        return info

    def stored(self, image: image_pb2.ImageInfo, timeout_s: float = 40.0) -> image_pb2.ImageInfo:
        """The image, once all its layers are in the store."""
        deadline = time.monotonic() + timeout_s
        while not (info := self.image(image.image_id)).stored:
            assert time.monotonic() < deadline, info
            time.sleep(0.05)
        return info

    def image_diff(self, old: image_pb2.ImageInfo, new: image_pb2.ImageInfo) -> dict[bytes, str]:
        """Kinds of changes by path."""
        request = image_pb2.ImageDiffRequest(old_image_id=old.image_id, new_image_id=new.image_id)
        return _changes(self.control.stream("ImageDiff", request))

    def upload(self, content: bytes) -> bytes:
        """Bring a blob to the store; returns its sha256."""
        digest = hashlib.sha256(content)
        url = f"{self._http_url}/v1/blobs/sha256:{digest.hexdigest()}"
        request = urllib.request.Request(url, data=content, method="PUT", headers=dict(self._metadata))
        with urllib.request.urlopen(request, timeout=CALL_S):
            return digest.digest()

    def building(self, definition: image_pb2.ImageDefinition, **fields: Any) -> Iterator[image_pb2.ImageBuildEvent]:
        """Events of a build as they come."""
        request = image_pb2.ImageBuildRequest(app_id=self.app_id, definition=definition, **fields)
        return self.control.stream("ImageBuild", request, timeout_s=BUILD_S)

    def build(self, definition: image_pb2.ImageDefinition, **fields: Any) -> tuple[image_pb2.ImageInfo, bytes]:
        """The image and what its commands put out."""
        events = list(self.building(definition, **fields))
        return events[-1].image, b"".join(event.log.data for event in events[:-1])


class RawSandbox:
    """One sandbox; method names are those of the wire, shortened."""

    def __init__(self, client: RawClient, created: control_pb2.SandboxCreateResponse) -> None:
        self._client = client
        self.sandbox_id: str = created.sandbox_id
        self.access: common_pb2.Access = created.access
        self.data = Stub(client.data_stub, lambda: (("authorization", f"Bearer {self.access.token}"),))

    # --- the sandbox -------------------------------------------------------------------------------------------------------------------

    def status(self) -> common_pb2.SandboxStatus:
        """As the router knows it."""
        info = self._client.control.SandboxGet(control_pb2.SandboxGetRequest(sandbox_id=self.sandbox_id))
        status: common_pb2.SandboxStatus = info.status
        return status

    def terminate(self) -> None:
        self._client.control.SandboxTerminate(control_pb2.SandboxTerminateRequest(sandbox_id=self.sandbox_id))

    def ended(self, timeout_s: float = 40.0) -> common_pb2.SandboxResult:
        """The result, once everything is freed."""
        deadline = time.monotonic() + timeout_s
        while (left_s := deadline - time.monotonic()) > 0:
            request = control_pb2.SandboxWaitRequest(sandbox_id=self.sandbox_id, timeout_s=min(left_s, 20.0))
            status = self._client.control.SandboxWait(request)
            if status.state == STOPPED:
                result: common_pb2.SandboxResult = status.result
                return result
        raise AssertionError(f"{self.sandbox_id} has not stopped: {self.status()}")

    def outlive(self) -> None:
        """Return when its lifetime is over, whether anybody notices or not."""
        expires_at = self.status().expires_at
        assert expires_at
        while time.time() <= expires_at:
            time.sleep(0.05)

    def snapshot(self, key: str = "") -> image_pb2.ImageInfo:
        """The sandbox's files as an image."""
        request = image_pb2.SandboxSnapshotFilesystemRequest(sandbox_id=self.sandbox_id, idempotency_key=key or new_id("ik"))
        info: image_pb2.ImageInfo = self._client.control.SandboxSnapshotFilesystem(request)
        return info

    def memory(self, key: str = "") -> snapshot_pb2.SnapshotInfo:
        """A memory snapshot."""
        request = snapshot_pb2.SandboxSnapshotRequest(sandbox_id=self.sandbox_id, idempotency_key=key or new_id("ik"))
        info: snapshot_pb2.SnapshotInfo = self._client.control.SandboxSnapshot(request)
        return info

    def pause(self) -> None:
        """Write its memory out."""
        self._client.control.SandboxPause(snapshot_pb2.SandboxPauseRequest(sandbox_id=self.sandbox_id))

    def resume(self) -> None:
        """Let it go on."""
        self._client.control.SandboxResume(snapshot_pb2.SandboxResumeRequest(sandbox_id=self.sandbox_id))

    def diff(self) -> dict[bytes, str]:
        """Kinds of changes since its creation, by path."""
        return _changes(self._client.control.stream("SandboxDiff", image_pb2.SandboxDiffRequest(sandbox_id=self.sandbox_id)))

    # --- processes -----------------------------------------------------------------------------------------------------------------------

    def start(self, *argv: str, exec_id: str = "", **fields: Any) -> str:
        """Start a process; returns its id."""
        exec_id = exec_id or new_id("ex")
        arguments = [argument.encode() for argument in argv]
        self.data.ProcessStart(data_pb2.ProcessStartRequest(sandbox_id=self.sandbox_id, exec_id=exec_id, argv=arguments, **fields))
        return exec_id

    def wait(self, exec_id: str, timeout_s: float = 20.0) -> data_pb2.ProcessStatus:
        request = data_pb2.ProcessWaitRequest(sandbox_id=self.sandbox_id, exec_id=exec_id, timeout_s=timeout_s)
        status: data_pb2.ProcessStatus = self.data.ProcessWait(request)
        return status

    def run(self, *argv: str, **fields: Any) -> data_pb2.ProcessStatus:
        """Run a process to its end."""
        return self.wait(self.start(*argv, **fields))

    def shell(self, script: str, **fields: Any) -> bytes:
        """What a shell script that succeeds prints."""
        exec_id = self.start("sh", "-c", script, **fields)
        output = self.output(exec_id)
        status = self.wait(exec_id)
        assert status.exit_code == 0, (script, output, self.output(exec_id, fd=2))
        return output

    def processes(self, *, ended: bool = True) -> dict[str, data_pb2.ProcessStatus]:
        request = data_pb2.ProcessListRequest(sandbox_id=self.sandbox_id, include_ended=ended)
        return {process.exec_id: process for process in self.data.ProcessList(request).processes}

    def chunks(self, exec_id: str, *, fd: int = 1, offset: int = 0, follow: bool = True) -> Iterator[data_pb2.OutputChunk]:
        """Pieces of output as they come. A stream that is cut raises."""
        request = data_pb2.ProcessOutputRequest(sandbox_id=self.sandbox_id, exec_id=exec_id, fd=fd, offset=offset, follow=follow)
        try:
            yield from self.data.ProcessOutput(request)
        except grpc.RpcError as error:
            raise error_of(error) from error

    def output(self, exec_id: str, **options: Any) -> bytes:
        return b"".join(chunk.data for chunk in self.chunks(exec_id, **options))

    def first_output(self, exec_id: str, fd: int = 1) -> bytes:
        """Wait for output, and hang up in mid-stream."""
        chunks = self.chunks(exec_id, fd=fd)
        first: bytes = next(chunks).data
        return first

    def write(self, exec_id: str, offset: int, data: bytes, *, eof: bool = False) -> int:
        request = data_pb2.ProcessInputRequest(sandbox_id=self.sandbox_id, exec_id=exec_id, offset=offset, data=data, eof=eof)
        following: int = self.data.ProcessInput(request).offset
        return following

    def signal(self, exec_id: str, number: int, *, tree: bool = False) -> None:
        self.data.ProcessSignal(data_pb2.ProcessSignalRequest(sandbox_id=self.sandbox_id, exec_id=exec_id, signal=number, tree=tree))

    # --- bulk transfers ------------------------------------------------------------------------------------------------------------------

    def http(self, method: str, path: str, *, endpoint: str = "file", body: bytes | None = None) -> bytes:
        """One bulk transfer. Raises: urllib.error.HTTPError."""
        url = f"{self.access.http_url}/v1/sandboxes/{self.sandbox_id}/{endpoint}?path={quote(path)}"
        headers = {"Authorization": f"Bearer {self.access.token}"}
        request = urllib.request.Request(url, data=body, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=CALL_S) as response:
            content: bytes = response.read()
        return content


def _changes(batches: Iterator[image_pb2.FileChanges]) -> dict[bytes, str]:
    """Paths must come in order, each once."""
    changes = [change for batch in batches for change in batch.changes]
    paths = [change.path.split(b"/") for change in changes]
    assert all(before < after for before, after in itertools.pairwise(paths))
    return {change.path: change.kind for change in changes}


@contextlib.contextmanager
def ending(*sandboxes: RawSandbox) -> Iterator[None]:
    """The sandboxes end with the block."""
    try:
        yield
    finally:
        for sandbox in sandboxes:
            sandbox.terminate()
        for sandbox in sandboxes:
            sandbox.ended()
