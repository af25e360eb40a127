"""What ``cove snapshot`` asks the server, and what it tells of snapshots."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from cove._async.client import connection_of
from cove._async.snapshot import _SandboxSnapshot, snapshot_info
from cove._transport.methods import SNAPSHOT_GET, SNAPSHOT_LIST
from cove.cli import _sandboxes
from cove.cli._many import each, first
from cove.cli._show import when
from cove.exception import Error
from cove.types import SnapshotDiff
from cove.wire import snapshot_pb2


async def list_(limit: int, sandbox: str | None) -> list[snapshot_pb2.SnapshotInfo]:
    """The newest snapshots, at most ``limit``.

    Args:    sandbox: only those of this one: its id, or what finds a running one.
    """
    sandbox_id = (await _sandboxes.find(sandbox)).object_id if sandbox else ""
    request = snapshot_pb2.SnapshotListRequest(sandbox_id=sandbox_id)
    return await first(limit, SNAPSHOT_LIST, request, lambda page: page.snapshots)


async def get(snapshot_id: str) -> snapshot_pb2.SnapshotInfo:
    """One snapshot. Raises: NotFoundError."""
    return await connection_of(None).control.call(SNAPSHOT_GET, snapshot_pb2.SnapshotGetRequest(snapshot_id=snapshot_id))


async def verify(snapshot_ids: list[str]) -> list[Error]:
    """Have them compared with what they were; what is damaged, and what went wrong."""
    return await each(snapshot_ids, lambda snapshot_id: _SandboxSnapshot.from_id(snapshot_id).verify())


async def pin(snapshot_ids: list[str]) -> list[Error]:
    """Pin them; what went wrong."""
    return await each(snapshot_ids, lambda snapshot_id: _SandboxSnapshot.from_id(snapshot_id).pin())


async def unpin(snapshot_ids: list[str], ttl_s: float | None) -> list[Error]:
    """Unpin them; what went wrong."""
    return await each(snapshot_ids, lambda snapshot_id: _SandboxSnapshot.from_id(snapshot_id).unpin(ttl_s))


async def remove(snapshot_ids: list[str]) -> list[Error]:
    """Remove them; what went wrong."""
    return await each(snapshot_ids, lambda snapshot_id: _SandboxSnapshot.from_id(snapshot_id).delete())


async def take(sandbox: str, ttl_s: float | None, timeout_s: float) -> str:
    """Take a snapshot of a sandbox; its id."""
    return (await (await _sandboxes.find(sandbox)).snapshot(ttl_s, timeout_s)).object_id


async def fork(sandbox: str, count: int) -> list[str]:
    """Fork a sandbox; ids of the new ones."""
    return [one.object_id for one in await (await _sandboxes.find(sandbox)).fork(count)]


async def diff(old_id: str, new_id: str) -> SnapshotDiff:
    """What is different in the second. Raises: NotFoundError."""
    return await _SandboxSnapshot.from_id(old_id).diff(_SandboxSnapshot.from_id(new_id))


def differences(diff: SnapshotDiff) -> dict[str, Any]:
    """For JSON. What is not known is null."""
    return {
        "files": [{"kind": change.kind, "path": change.path} for change in diff.files],
        "processes": [asdict(change) for change in diff.processes],
        "ports": None if diff.ports is None else [{"kind": change.kind, **asdict(change.port)} for change in diff.ports],
    }


def facts(info: snapshot_pb2.SnapshotInfo) -> dict[str, Any]:
    """One snapshot for JSON. Times are Unix seconds; what is not known is null."""
    machine, known = info.machine, snapshot_info(info)
    return {
        "snapshot_id": info.snapshot_id,
        "sandbox_id": info.sandbox_id,
        "parent_snapshot_id": info.parent_snapshot_id or None,
        "image_id": info.image_id,
        "created_at": when(info.created_at),
        "expires_at": when(info.expires_at),
        "pinned": info.pinned,
        "memory_bytes": info.memory_bytes,
        "stored": info.stored,
        "stopped_s": info.stopped_s,
        "processes": [{"exec_id": one.exec_id, "pid": one.pid, "pty": one.pty, "program": one.program} for one in info.processes],
        "children": [asdict(one) for one in known.children] if known.children is not None else None,
        "ports": [asdict(one) for one in known.ports] if known.ports is not None else None,
        "machine": {
            "architecture": machine.architecture,
            "runsc_version": machine.runsc_version,
            "runsc_build": machine.runsc_build or None,
            "platform": machine.platform,
            "cpu_features": list(machine.cpu_features),
        },
    }
