"""What differs between two memory snapshots beside their files. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from cove.types import PortChange, ProcessChange, SnapshotInfo, SnapshotPort

_Identity = tuple[int, str, str]
"""Pid, exec id or nothing, program: a process that has all of them in both is the same one."""


def process_changes(old: SnapshotInfo, new: SnapshotInfo) -> tuple[ProcessChange, ...]:
    """Every process of either, by pid."""
    with_children = old.children is not None and new.children is not None
    before, after = _processes(old, with_children), _processes(new, with_children)
    changes = [*_changes("ended", before - after), *_changes("kept", before & after), *_changes("started", after - before)]
    return tuple(sorted(changes, key=lambda change: change.pid))


def port_changes(old: SnapshotInfo, new: SnapshotInfo) -> tuple[PortChange, ...] | None:
    """What listens in one of them alone, by protocol, port and address; None: it is not known of both."""
    if old.ports is None or new.ports is None:
        return None
    before, after = set(old.ports), set(new.ports)
    closed = [PortChange("closed", port) for port in before - after]
    opened = [PortChange("opened", port) for port in after - before]
    return tuple(sorted([*closed, *opened], key=lambda change: _order(change.port)))


def _processes(info: SnapshotInfo, with_children: bool) -> set[_Identity]:
    found = {(process.pid, process.exec_id, process.program) for process in info.processes}
    if with_children:
        found |= {(child.pid, "", child.program) for child in info.children or ()}
    return found


def _changes(kind: str, processes: Iterable[_Identity]) -> Iterable[ProcessChange]:
    return (ProcessChange(kind, exec_id or None, pid, program) for pid, exec_id, program in processes)


def _order(port: SnapshotPort) -> tuple[str, int, str]:
    return (port.protocol, port.port, port.address)
