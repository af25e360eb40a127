"""Between wire messages and the daemon's own types. Pure; checks what the policies do not know of."""

from __future__ import annotations

import posixpath
import re
from typing import Final

from cove.exception import InvalidError
from cove.types import EndReason, SandboxId, TaskId, is_id
from cove.wire import common_pb2, data_pb2, image_pb2, node_pb2, snapshot_pb2
from policies.egress import policy_from_wire, policy_to_wire
from policies.specs import check_command, check_env
from sandboxd.channel.messages import Entry as DirectoryEntry
from sandboxd.channel.messages import ProcessFlag, ProcessRequest, Stat, WatchEvent
from sandboxd.environment import process_environment
from sandboxd.journal import Entry, Image, Layer, MemoryRef, Resources
from sandboxd.layers import check_layer_id
from sandboxd.lifecycle import State
from sandboxd.memory.cache import check_snapshot_id
from sandboxd.node import CreateRequest
from sandboxd.processes import Process, ProcessState
from sandboxd.sandbox import Sandbox

MAX_PATH_BYTES: Final = 4095
MAX_TIMEOUT_S: Final = 30 * 86_400.0
MAX_PTY_SIZE: Final = 4096
MAX_LAYERS: Final = 120
"""A mount takes a few more than that; beside an image's there are a sandbox's own."""

_EXEC_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_USER: Final = re.compile(r"[A-Za-z0-9._-]{0,32}(:[A-Za-z0-9._-]{1,32})?")

_STATES: Final = {
    State.PENDING: common_pb2.SANDBOX_STATE_PENDING,
    State.RUNNING: common_pb2.SANDBOX_STATE_RUNNING,
    State.PAUSING: common_pb2.SANDBOX_STATE_RUNNING,
    State.PAUSED: common_pb2.SANDBOX_STATE_RUNNING,
    State.WAKING: common_pb2.SANDBOX_STATE_RUNNING,
    State.STOPPING: common_pb2.SANDBOX_STATE_STOPPING,
    State.STOPPED: common_pb2.SANDBOX_STATE_STOPPED,
}
_REASONS: Final = {
    EndReason.SUCCESS: common_pb2.END_REASON_SUCCESS,
    EndReason.FAILURE: common_pb2.END_REASON_FAILURE,
    EndReason.TERMINATED: common_pb2.END_REASON_TERMINATED,
    EndReason.TIMEOUT: common_pb2.END_REASON_TIMEOUT,
    EndReason.IDLE_TIMEOUT: common_pb2.END_REASON_IDLE_TIMEOUT,
    EndReason.OUT_OF_MEMORY: common_pb2.END_REASON_OUT_OF_MEMORY,
    EndReason.INIT_FAILURE: common_pb2.END_REASON_INIT_FAILURE,
    EndReason.INTERNAL_FAILURE: common_pb2.END_REASON_INTERNAL_FAILURE,
}
_END_ACTIONS: Final = {False: common_pb2.END_ACTION_TERMINATE, True: common_pb2.END_ACTION_PAUSE}
_PROCESS_STATES: Final = {
    ProcessState.STARTING: data_pb2.PROCESS_STATE_RUNNING,
    ProcessState.RUNNING: data_pb2.PROCESS_STATE_RUNNING,
    ProcessState.EXITED: data_pb2.PROCESS_STATE_EXITED,
    ProcessState.SIGNALED: data_pb2.PROCESS_STATE_SIGNALED,
    ProcessState.TIMED_OUT: data_pb2.PROCESS_STATE_TIMED_OUT,
    ProcessState.LOST: data_pb2.PROCESS_STATE_LOST,
}
_WATCH_TYPES: Final = {
    0: data_pb2.FILE_WATCH_EVENT_TYPE_UNKNOWN,
    1: data_pb2.FILE_WATCH_EVENT_TYPE_ACCESS,
    2: data_pb2.FILE_WATCH_EVENT_TYPE_CREATE,
    3: data_pb2.FILE_WATCH_EVENT_TYPE_MODIFY,
    4: data_pb2.FILE_WATCH_EVENT_TYPE_REMOVE,
}


def create_request(message: node_pb2.NodeCreateRequest) -> CreateRequest:
    """The router has validated and filled in the spec; a node checks what its own safety rests on.

    Raises: InvalidError.
    """
    spec = message.spec
    if not is_id(message.sandbox_id, "sb") or not is_id(message.task_id, "ta"):
        raise InvalidError("Sandbox or task id is malformed.")
    resources = spec.resources
    if not all(
        (spec.timeout_s, resources.cpu_request_millis, resources.memory_request_bytes, resources.disk_limit_bytes, resources.max_tasks)
    ):
        raise InvalidError("The spec has no defaults filled in.", remedy="Create sandboxes through the router.")
    return CreateRequest(
        sandbox_id=SandboxId(message.sandbox_id),
        task_id=TaskId(message.task_id),
        command=list(spec.command),
        env=dict(spec.env),
        workdir=spec.workdir,
        timeout_s=spec.timeout_s,
        idle_timeout_s=spec.idle_timeout_s,
        resources=Resources(
            cpu_request_millis=resources.cpu_request_millis,
            cpu_limit_millis=resources.cpu_limit_millis,
            memory_request_bytes=resources.memory_request_bytes,
            memory_limit_bytes=resources.memory_limit_bytes,
            disk_limit_bytes=resources.disk_limit_bytes,
            max_tasks=resources.max_tasks,
        ),
        image=_image(message),
        build=message.build,
        restore=memory_of(message.restore) if message.HasField("restore") else None,
        network=policy_from_wire(spec.network),
        pty=spec.pty,
        verbose=spec.verbose,
        pause_on_idle=spec.on_idle == common_pb2.END_ACTION_PAUSE,
        pause_on_timeout=spec.on_timeout == common_pb2.END_ACTION_PAUSE,
    )


def _image(message: node_pb2.NodeCreateRequest) -> Image:
    """Raises: InvalidError: none, or one that cannot be."""
    reference = message.spec.image
    match reference.WhichOneof("source"):
        case "debian":
            return Image(layers=(Layer(base=f"debian:{reference.debian}"),))
        case "rootfs_path":
            return Image(layers=(Layer(base=f"rootfs:{reference.rootfs_path}"),))
    return image_of(message.image)


def image_of(manifest: image_pb2.ImageManifest) -> Image:
    """Raises: InvalidError: no manifest, or one that cannot be mounted."""
    if not manifest.image_id or len(manifest.layers) > MAX_LAYERS:  # without a layer it is an image without files, to build on
        raise InvalidError("The spec names no image that can be mounted.", remedy="Create sandboxes through the router.")
    return Image(
        image_id=manifest.image_id,
        layers=tuple(layer_of(layer, lowest=index == 0) for index, layer in enumerate(manifest.layers)),
        env=dict(manifest.config.env),
        user=manifest.config.user,
    )


def memory_of(message: snapshot_pb2.MemoryRef) -> MemoryRef:
    """Raises: InvalidError: the id."""
    return MemoryRef(
        snapshot_id=check_snapshot_id(message.snapshot_id), digest=message.digest, diff_id=message.diff_id, size_bytes=message.size_bytes
    )


def spec_of(entry: Entry) -> common_pb2.SandboxSpec:
    """What a sandbox was created with, but for its command and its environment: those go with its memory."""
    resources = entry.resources
    return common_pb2.SandboxSpec(
        workdir=entry.workdir,
        timeout_s=entry.timeout_s,
        idle_timeout_s=entry.idle_timeout_s,
        resources=common_pb2.Resources(
            cpu_request_millis=resources.cpu_request_millis,
            cpu_limit_millis=resources.cpu_limit_millis,
            memory_request_bytes=resources.memory_request_bytes,
            memory_limit_bytes=resources.memory_limit_bytes,
            disk_limit_bytes=resources.disk_limit_bytes,
            max_tasks=resources.max_tasks,
        ),
        network=policy_to_wire(entry.network),
        pty=entry.pty,
        verbose=entry.verbose,
        on_idle=_END_ACTIONS[entry.pause_on_idle],
        on_timeout=_END_ACTIONS[entry.pause_on_timeout],
    )


def layer_of(message: image_pb2.LayerRef, *, lowest: bool) -> Layer:
    """Raises: InvalidError: neither a layer nor, at the bottom, a base."""
    if not message.base:
        check_layer_id(message.layer_id)
    elif not lowest or message.layer_id:
        raise InvalidError("A base can only be the lowest layer.")
    return Layer(
        layer_id=message.layer_id,
        base=message.base,
        digest=message.digest,
        diff_id=message.diff_id,
        size_bytes=message.size_bytes,
        foreign=message.foreign,
    )


def sandbox_status(sandbox: Sandbox) -> common_pb2.SandboxStatus:
    entry = sandbox.entry
    status = common_pb2.SandboxStatus(
        sandbox_id=entry.sandbox_id,
        state=_STATES[sandbox.state],
        started_at=entry.started_at,
        expires_at=entry.expires_at,
        idle_since=sandbox.timers.idle_since,
        paused_at=entry.paused_at if sandbox.state is State.PAUSED else 0,
    )
    if entry.result is not None:
        status.result.reason = _REASONS[entry.result.reason]
        status.result.exit_code = entry.result.exit_code
        status.result.message = entry.result.message
        status.result.ended_at = entry.ended_at
    return status


def wait_s(seconds: float, most_s: float) -> float:
    """``seconds`` of a wait, at most ``most_s``. Raises: InvalidError: negative, or not a number."""
    _check(seconds >= 0, "timeout", "0 or more seconds")
    return min(seconds, most_s)


def process_request(message: data_pb2.ProcessStartRequest, sandbox: Sandbox) -> ProcessRequest:
    """Raises: InvalidError naming the field."""
    _check(bool(_EXEC_ID.fullmatch(message.exec_id)), "exec_id", "1 to 64 letters, digits, dashes, periods and underscores")
    _check(bool(message.argv), "argv", "a command")
    check_command(message.argv)
    check_env(message.env)
    _check(bool(_USER.fullmatch(message.user)), "user", "a user, a uid, user:group or uid:gid")
    _check(0 <= message.timeout_s <= MAX_TIMEOUT_S, "timeout", f"0 to {MAX_TIMEOUT_S:g} s")
    has_pty = message.HasField("pty")
    if has_pty:
        _check_pty(message.pty)
    env = process_environment(sandbox.env, message.env, terminal=has_pty)
    return ProcessRequest(
        exec_id=message.exec_id,
        argv=list(message.argv),
        env=env,
        cwd=_text_path(message.workdir, sandbox),
        user=message.user or sandbox.entry.image.user,
        flags=(ProcessFlag.PTY if has_pty else ProcessFlag(0)) | (ProcessFlag.NO_STDIN if message.no_stdin else ProcessFlag(0)),
        rows=message.pty.rows,
        columns=message.pty.columns,
        timeout_ms=round(message.timeout_s * 1000),
        max_tasks=sandbox.entry.resources.max_tasks,
    )


def check_pty(size: data_pb2.PtySize) -> tuple[int, int]:
    """Rows and columns. Raises: InvalidError."""
    _check_pty(size)
    return size.rows, size.columns


def _check_pty(size: data_pb2.PtySize) -> None:
    _check(1 <= size.rows <= MAX_PTY_SIZE and 1 <= size.columns <= MAX_PTY_SIZE, "pty", f"1 to {MAX_PTY_SIZE} rows and columns")


def _text_path(path: str, sandbox: Sandbox) -> str:
    return absolute_path(path.encode("utf-8", "surrogateescape"), sandbox).decode("utf-8", "surrogateescape")


def absolute_path(path: bytes, sandbox: Sandbox) -> bytes:
    """``path`` below the sandbox's working directory unless absolute. Only joined: ``..`` and links are the sandbox's own business.

    Raises: InvalidError: NUL, or too long.
    """
    joined = posixpath.join(sandbox.entry.workdir.encode("utf-8", "surrogateescape"), path)
    _check(b"\0" not in joined, "path", "a path without NUL")
    _check(len(joined) <= MAX_PATH_BYTES, "path", f"at most {MAX_PATH_BYTES} bytes")
    return joined


def process_status(process: Process) -> data_pb2.ProcessStatus:
    started = process.started
    return data_pb2.ProcessStatus(
        exec_id=process.exec_id,
        state=_PROCESS_STATES[process.state],
        exit_code=process.exit_code,
        signal=process.signal,
        pid=process.pid,
        argv=started.argv,
        pty=started.pty,
        started_at=started.started_at,
        ended_at=process.ended_at,
        stdout_bytes=process.stdout.total,
        stderr_bytes=process.stderr.total,
        stdin_offset=process.stdin_offset,
        stdin_closed=process.stdin_closed or not process.live,
        timeout_s=started.timeout_s,
    )


def file_info(name: bytes, stat: Stat, link_target: bytes = b"") -> data_pb2.FileInfo:
    return data_pb2.FileInfo(
        name=name.decode("utf-8", "replace"),
        name_bytes=name,
        mode=stat.mode,
        uid=stat.uid,
        gid=stat.gid,
        size_bytes=stat.size_bytes,
        mtime_ns=stat.mtime_ns,
        link_target=link_target.decode("utf-8", "replace"),
    )


def watch_event(event: WatchEvent) -> data_pb2.FileWatchEvent:
    return data_pb2.FileWatchEvent(type=_WATCH_TYPES[event.type], paths=event.paths, overflow=event.overflow)


def entry_info(entry: DirectoryEntry) -> data_pb2.FileInfo:
    return file_info(entry.name, entry.stat)


def _check(fine: bool, field: str, wanted: str) -> None:
    if not fine:
        raise InvalidError(f"{field} is not valid.", remedy=f"Give {wanted}.", context={"field": field})
