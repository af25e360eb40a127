"""Between wire messages and records. Pure; what comes from a node is checked here."""

from __future__ import annotations

import base64
import binascii
import math
import re
from typing import Final

import msgspec

from cove.exception import MAX_TEXT, InvalidError
from cove.types import EndReason, NodeId, SandboxId, is_id
from cove.wire import common_pb2, control_pb2, node_pb2
from policies.access import MAX_NODE_ID_LENGTH
from policies.shapes import KEY_LENGTH
from router.db.records import Capacity, Observed, SandboxRecord, SandboxState
from router.nodes import Registration
from router.spares import Starts

MAX_PYTHONS: Final = 32
MAX_PROXIES: Final = 256
MAX_SPARES: Final = 16_000
MAX_BUILDS: Final = 256
MAX_VERSION: Final = 128
MAX_URL: Final = 512
MAX_CURSOR: Final = 256

_NODE_ID = re.compile(rf"[A-Za-z0-9._-]{{1,{MAX_NODE_ID_LENGTH}}}")
_GRPC_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]{1,253}):[0-9]{1,5}")
_HTTP_URL = re.compile(r"https?://(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]{1,253})(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?")
_PROXY = re.compile(r"[A-Za-z0-9._-]{1,64}")
_BUILD = re.compile(r"[A-Za-z0-9.+~_-]{1,100}-[0-9a-f]{16}")
_PYTHON = re.compile(r"3\.[0-9]{1,2}")
_SHAPE = re.compile(rf"[0-9a-f]{{{KEY_LENGTH}}}")
_PREFIX: Final = "END_REASON_"


def to_status(record: SandboxRecord) -> common_pb2.SandboxStatus:
    """The status of a sandbox as clients see it."""
    seen = record.observed
    status = common_pb2.SandboxStatus(
        sandbox_id=record.sandbox_id,
        state=f"SANDBOX_STATE_{seen.state.name}",
        started_at=seen.started_at,
        expires_at=seen.expires_at,
        idle_since=seen.idle_since,
        paused_at=seen.paused_at if record.is_live else 0,
    )
    if seen.reason is not None:
        reason = _PREFIX + seen.reason.name
        result = common_pb2.SandboxResult(reason=reason, exit_code=seen.exit_code, message=seen.message, ended_at=seen.ended_at)
        status.result.CopyFrom(result)
    return status


def to_info(record: SandboxRecord) -> control_pb2.SandboxInfo:
    """All that clients may know of a sandbox."""
    return control_pb2.SandboxInfo(
        sandbox_id=record.sandbox_id,
        task_id=record.task_id,
        app_id=record.app_id,
        name=record.name,
        tags=record.tags,
        created_at=record.created_at,
        status=to_status(record),
        node_id=record.node_id,
    )


def from_status(status: common_pb2.SandboxStatus, *, now: float) -> tuple[SandboxId, Observed]:
    """What a node says of a sandbox.

    Args:    now: Unix seconds; when it ended, if the node does not say.
    Raises:  InvalidError: the message makes no sense.
    """
    if not is_id(status.sandbox_id, "sb"):
        raise InvalidError("A reported sandbox id is malformed.")
    try:
        state = SandboxState(status.state)
    except ValueError:
        raise InvalidError(f"The reported state {status.state} is unknown.") from None
    observed = Observed(
        state, _time(status.started_at), _time(status.expires_at), _time(status.idle_since), paused_at=_time(status.paused_at)
    )
    if state >= SandboxState.STOPPING:
        observed = _with_result(observed, status.result, now)
    return SandboxId(status.sandbox_id), observed


def from_registration(request: node_pb2.RegisterRequest) -> Registration:
    """What a node says of itself.

    Raises:  InvalidError: a field is malformed.
    """
    _check(bool(_NODE_ID.fullmatch(request.node_id)), "node_id")
    _check(bool(_GRPC_ADDRESS.fullmatch(request.grpc_address)), "grpc_address")
    _check(len(request.http_url) <= MAX_URL and bool(_HTTP_URL.fullmatch(request.http_url)), "http_url")
    _check(len(request.debian_pythons) <= MAX_PYTHONS and all(map(_PYTHON.fullmatch, request.debian_pythons)), "debian_pythons")
    _check(len(request.proxies) <= MAX_PROXIES and all(map(_PROXY.fullmatch, request.proxies)), "proxies")
    _check(len(request.version) <= MAX_VERSION and len(request.runsc_version) <= MAX_VERSION, "version")
    _check(len(request.runsc_builds) <= MAX_BUILDS and all(map(_BUILD.fullmatch, request.runsc_builds)), "runsc_builds")
    return Registration(
        node_id=NodeId(request.node_id),
        grpc_address=request.grpc_address,
        http_url=request.http_url.rstrip("/"),
        capacity=to_capacity(request.capacity),
        version=request.version,
        runsc_version=request.runsc_version,
        runsc_builds=tuple(request.runsc_builds),
        debian_pythons=tuple(request.debian_pythons),
        proxies=tuple(request.proxies),
    )


def from_spares(message: node_pb2.SpareList) -> tuple[dict[SandboxId, str], Starts]:
    """What a node has booted ahead, by id, and what it has started.

    Raises:  InvalidError: a field is malformed, or there are too many.
    """
    _check(len(message.spares) <= MAX_SPARES, "spares")
    _check(all(is_id(spare.sandbox_id, "sb") and _SHAPE.fullmatch(spare.shape) for spare in message.spares), "spares")
    return {SandboxId(spare.sandbox_id): spare.shape for spare in message.spares}, Starts(message.warm, message.cold)


def to_capacity(resources: common_pb2.Resources) -> Capacity:
    """The requests in ``resources``.

    Raises:  InvalidError: more memory than the database can count.
    """
    _check(resources.memory_request_bytes < 2**62, "memory_request_bytes")
    return Capacity(resources.cpu_request_millis, resources.memory_request_bytes)


def from_capacity(capacity: Capacity) -> common_pb2.Resources:
    """The wire form of amounts."""
    return common_pb2.Resources(cpu_request_millis=capacity.cpu_millis, memory_request_bytes=capacity.memory_bytes)


def to_cursor(created_at: float, last_id: str) -> str:
    """Where a list, newest first, goes on after the item with this id."""
    return base64.urlsafe_b64encode(msgspec.json.encode((created_at, last_id))).decode()


def from_cursor(cursor: str) -> tuple[float, str] | None:
    """Where a list goes on: after the item made then, with this id; None at its start.

    Raises:  InvalidError: no cursor of ours.
    """
    if not cursor:
        return None
    try:
        if len(cursor) > MAX_CURSOR:
            raise ValueError("too long")
        return msgspec.json.decode(base64.b64decode(cursor, altchars=b"-_", validate=True), type=tuple[float, str])
    except (binascii.Error, msgspec.DecodeError, ValueError) as error:
        raise InvalidError("The cursor is not valid.", remedy="Start the list again without one.") from error


def _with_result(observed: Observed, result: common_pb2.SandboxResult, now: float) -> Observed:
    names = {value: name for name, value in common_pb2.EndReason.items()}
    name = names.get(result.reason, "")
    # An end without a known reason comes from a newer or a broken node; it is an end all the same.
    known = result.reason != common_pb2.END_REASON_UNSPECIFIED and name != ""
    reason = EndReason[name.removeprefix(_PREFIX)] if known else EndReason.INTERNAL_FAILURE
    ended_at = _time(result.ended_at) or (now if observed.state is SandboxState.STOPPED else 0.0)
    message = result.message[:MAX_TEXT].replace("\0", "")
    return msgspec.structs.replace(observed, reason=reason, exit_code=result.exit_code, message=message, ended_at=ended_at)


def _time(value: float) -> float:
    _check(math.isfinite(value) and 0 <= value < 2**40, "time")
    return value


def _check(passed: bool, field: str) -> None:
    if not passed:
        raise InvalidError(f"The node's {field} is malformed.", context={"field": field})
