"""Snapshot records as wire messages, and what nodes say of snapshots, checked. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Final

from cove.exception import InvalidError
from cove.wire import snapshot_pb2
from router.db.snapshots import SnapshotRecord

MAX_TEXT: Final = 128
MAX_FEATURES: Final = 1_024
MAX_PROCESSES: Final = 5_000
"""More than a sandbox can have of those that were started from outside."""

MAX_SEEN: Final = 1_000
"""Children, and ports."""

MAX_SPEC_BYTES: Final = 256 << 10


def checked(answer: snapshot_pb2.MemorySnapshotResponse) -> snapshot_pb2.MemorySnapshotResponse:
    """What a node told of a snapshot, without any environment.

    Raises:  InvalidError: it makes no sense.
    """
    machine = answer.machine
    _check(math.isfinite(answer.stopped_s) and answer.stopped_s >= 0, "stopped_s")
    _check(answer.memory_bytes < 2**62, "memory_bytes")
    _check(bool(machine.runsc_version), "machine")
    _check(len(machine.cpu_features) <= MAX_FEATURES, "machine")
    _check(
        _are_short((machine.architecture, machine.runsc_version, machine.runsc_build, machine.platform, *machine.cpu_features)), "machine"
    )
    _check(len(answer.processes) <= MAX_PROCESSES, "processes")
    _check(_are_short(text for process in answer.processes for text in (process.exec_id, process.program)), "processes")
    children, ports = answer.children.children, answer.ports.ports
    _check(len(children) <= MAX_SEEN and _are_short(child.program for child in children), "children")
    _check(len(ports) <= MAX_SEEN and all(map(_is_port, ports)), "ports")
    kept = snapshot_pb2.MemorySnapshotResponse()
    kept.CopyFrom(answer)
    kept.spec.env.clear()
    _check(answer.HasField("spec") and kept.spec.ByteSize() <= MAX_SPEC_BYTES, "spec")
    return kept


def taken_of(snapshot: SnapshotRecord) -> snapshot_pb2.MemorySnapshotResponse:
    """What its node told of it."""
    return snapshot_pb2.MemorySnapshotResponse.FromString(snapshot.taken)


def to_memory_ref(snapshot: SnapshotRecord) -> snapshot_pb2.MemoryRef:
    """Its memory, as nodes find it."""
    return snapshot_pb2.MemoryRef(
        snapshot_id=snapshot.snapshot_id,
        digest=snapshot.digest,
        diff_id=snapshot.diff_id,
        size_bytes=snapshot.size_bytes,
        machine=taken_of(snapshot).machine,
    )


def to_snapshot_info(snapshot: SnapshotRecord) -> snapshot_pb2.SnapshotInfo:
    """All that clients may know of it."""
    taken = taken_of(snapshot)
    return snapshot_pb2.SnapshotInfo(
        children=taken.children if taken.HasField("children") else None,
        ports=taken.ports if taken.HasField("ports") else None,
        snapshot_id=snapshot.snapshot_id,
        sandbox_id=snapshot.sandbox_id,
        parent_snapshot_id=snapshot.parent_snapshot_id,
        image_id=snapshot.image_id,
        created_at=snapshot.created_at,
        expires_at=snapshot.expires_at,
        pinned=snapshot.pinned,
        memory_bytes=taken.memory_bytes,
        stored=bool(snapshot.digest),
        stopped_s=taken.stopped_s,
        processes=taken.processes,
        machine=taken.machine,
    )


def _are_short(texts: Iterable[str]) -> bool:
    return all(len(text) <= MAX_TEXT for text in texts)


def _is_port(seen: snapshot_pb2.SnapshotPort) -> bool:
    try:
        ip_address(seen.address)
    except ValueError:
        return False
    return seen.protocol in ("tcp", "udp") and 0 < seen.port < 2**16


def _check(passed: bool, field: str) -> None:
    if not passed:
        raise InvalidError(f"The node's {field} of a snapshot is malformed.", context={"field": field})
