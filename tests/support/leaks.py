"""What an instance of cove holds on this machine, counted from the kernel's tables and the file system, never from cove's own records."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from cove.types import is_id
from sandboxd import kernel
from sandboxd.naming import interface_prefix
from tests.support.leak_guard import is_spare
from tests.support.live_cove import LiveCove

FREED_S: Final = 45.0
"""Longest wait for what must go: one round of the reconciler and some."""

_NET: Final = Path("/sys/class/net")
_SANDBOX_ID: Final = re.compile(r"sb-[A-Za-z0-9]{22}")


class Holdings(msgspec.Struct, frozen=True):
    """Sandbox ids by kind of thing; ``links`` are interface names and ``processes`` begin with the sandbox's id."""

    rootfs_mounts: frozenset[str]
    netns: frozenset[str]
    links: frozenset[str]
    cgroups: frozenset[str]
    runsc_states: frozenset[str]
    fifos: frozenset[str]
    uppers: frozenset[str]
    paused: frozenset[str]
    """Memory on disk."""
    run_dirs: frozenset[str]
    processes: frozenset[str]
    uncollected: frozenset[int]
    """Dead children of the node daemon's for which nobody has asked."""

    def by_sandbox(self) -> dict[str, frozenset[str]]:
        """The kinds that are told apart by sandbox id."""
        others = ("links", "paused", "processes", "uncollected")
        return {name: value for name, value in msgspec.structs.asdict(self).items() if name not in others}


def holdings(live: LiveCove) -> Holdings:
    """Count now."""
    run, state = live.directory / "run", live.directory / "state"
    return Holdings(
        rootfs_mounts=frozenset(mount.path.name for mount in kernel.mounts_below(run / "rootfs")) | _names(run / "rootfs"),
        netns=frozenset(mount.path.name for mount in kernel.mounts_below(run / "netns")) | _names(run / "netns"),
        links=frozenset(link.name for link in _NET.iterdir() if link.name.startswith(interface_prefix(_name(live))) and not is_spare(link)),
        cgroups=frozenset(child.name for group in _groups(live) for child in group.iterdir() if child.is_dir()),
        runsc_states=frozenset(_sandbox_in(path.name) for root in _entries(run / "runsc") for path in _entries(root)),
        fifos=frozenset(path.parent.name for path in (run / "sandboxes").glob("*/*") if path.is_fifo()),
        uppers=_names(state / "pool" / "sandboxes"),
        paused=_names(state / "paused"),
        run_dirs=_names(run / "sandboxes"),
        processes=frozenset(_processes(live)),
        uncollected=frozenset(_uncollected(live)),
    )


def assert_holds(live: LiveCove, *sandbox_ids: str, networks: int = 0) -> None:
    """Pass once the instance holds every kind of thing for exactly these sandboxes, of which ``networks`` have one.

    The last things of a sandbox go a moment after it is reported stopped, and orphans at the next round of the reconciler.
    """
    deadline = time.monotonic() + FREED_S
    while wrong := _differences(holdings(live), frozenset(sandbox_ids), networks):
        assert time.monotonic() < deadline, wrong
        time.sleep(0.1)


def assert_nothing(live: LiveCove) -> None:
    """Pass if an instance that was shut down has left nothing in the kernel, its own group and pool included."""
    held = holdings(live)
    assert not any(msgspec.structs.astuple(held)), held
    assert list(_groups(live)) == []
    assert [mount.path for mount in kernel.mounts() if mount.path.is_relative_to(live.directory)] == []


def descriptors(pid: int) -> int:
    """Open file descriptors of a process."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def peak_bytes(pid: int) -> int:
    """The most memory that a process had in RAM since it began."""
    return _memory_line(pid, "VmHWM")


def sentry_pid(live: LiveCove, sandbox_id: str) -> int:
    """The sandbox's sentry."""
    return int((live.directory / "run" / "sandboxes" / sandbox_id / "pid").read_text())


def cgroup_of(live: LiveCove, sandbox_id: str) -> Path:
    """The sandbox's group in the hierarchy that can stop it."""
    groups = [group / sandbox_id for group in _groups(live)]
    return next(group for group in groups if (group / "freezer.state").exists() or (group / "cgroup.freeze").exists())


def gofer_pid(live: LiveCove, sandbox_id: str) -> int:
    """The sandbox's file server."""
    pids = [pid for pid, words in _command_lines() if words and words[0] == "runsc-gofer" and any(sandbox_id in word for word in words)]
    assert len(pids) == 1, pids
    return pids[0]


def _differences(held: Holdings, wanted: frozenset[str], networks: int) -> dict[str, object]:
    wrong: dict[str, object] = {}
    for kind, ids in held.by_sandbox().items():
        if kind == "netns":
            if len(ids) != networks or ids - wanted:
                wrong[kind] = sorted(ids)
        elif ids != wanted:
            wrong[kind] = {"leaked": sorted(ids - wanted), "missing": sorted(wanted - ids)}
    if held.uncollected:
        wrong["uncollected"] = sorted(held.uncollected)
    if held.paused:
        wrong["paused"] = sorted(held.paused)
    if len(held.links) != networks:
        wrong["links"] = sorted(held.links)
    strangers = sorted(process for process in held.processes if process.split()[0] not in wanted)
    if strangers:
        wrong["processes"] = strangers
    return wrong


def _sandbox_in(text: str) -> str:
    """The first sandbox id in ``text``; the text itself where there is none."""
    found = _SANDBOX_ID.search(text)
    return found.group() if found else text


def _name(live: LiveCove) -> str:
    return f"cove-{live.instance}"


def _groups(live: LiveCove) -> Iterator[Path]:
    """The instance's control group in every hierarchy."""
    for mount in kernel.mounts():
        if mount.fstype in ("cgroup", "cgroup2") and (group := mount.path / _name(live)).is_dir():
            yield group


def _processes(live: LiveCove) -> Iterator[str]:
    """Processes in the instance's control groups (systrap's have no command line), and runsc's own wherever they are."""
    for group in _groups(live):
        for directory, _, _ in os.walk(group):  # which passes over what goes meanwhile
            with contextlib.suppress(OSError):
                yield from (f"{Path(directory).name} process {pid}" for pid in Path(directory, "cgroup.procs").read_text().split())
    root = f"--root={live.directory / 'run' / 'runsc'}"
    for pid, words in _command_lines():
        if root in words:
            yield f"{_sandbox_in(' '.join(words))} {words[0]} {pid}"


def _uncollected(live: LiveCove) -> Iterator[int]:
    parent = str(live.pid("sandboxd")) if live.runs("sandboxd") else ""
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                state, its_parent = (path / "stat").read_text().rpartition(")")[2].split()[:2]
                if state == "Z" and its_parent == parent:
                    yield int(path.name)


def _command_lines() -> Iterator[tuple[int, list[str]]]:
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            try:
                command_line = (path / "cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
            yield int(path.name), command_line.decode("utf-8", "replace").rstrip("\0").split("\0")


def _entries(directory: Path) -> list[Path]:
    return list(directory.iterdir()) if directory.is_dir() else []


def _names(directory: Path) -> frozenset[str]:
    return frozenset(entry.name for entry in _entries(directory) if is_id(entry.name, "sb"))


def _memory_line(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} has no {field}")
