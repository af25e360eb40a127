"""What one test left behind: child processes, mounts and loop devices of this test process, and kernel objects of instances it named.

Cheap enough for every test: a few reads of /proc and /sys, under a millisecond. What other test processes do meanwhile does not count.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import msgspec

from sandboxd.naming import interface_prefix

GRACE_S: Final = 1.0
"""How long a process that is on its way out may take; waited only where something is left."""
POLL_S: Final = 0.01

_instances: set[str] = set()


def watch_instance(name: str) -> str:
    """Have kernel objects of the instance ``name`` (``cove-t1a2b3``) looked for at the end of every test from now on. Returns ``name``."""
    _instances.add(name)
    return name


class Traces(msgspec.Struct, frozen=True):
    """What there is at one moment; each as text that names it."""

    found: frozenset[str]

    @classmethod
    def take(cls, directory: Path) -> Traces:
        """``directory``: where this test process has its files; mounts and loop devices over it are its own."""
        return cls(frozenset({*_children(), *_mounts(directory), *_loops(directory), *_named()}))

    def left(self, directory: Path) -> list[str]:
        """What is there now beyond these traces, once there was time for it to go."""
        deadline = time.monotonic() + GRACE_S
        while extra := Traces.take(directory).found - self.found:
            if time.monotonic() > deadline:
                return sorted(extra)
            time.sleep(POLL_S)
        return []


def _children() -> list[str]:
    """Children of this process, zombies too: each must have been waited for."""
    found = []
    for thread in Path("/proc/self/task").iterdir():
        for pid in _text(thread / "children").split():
            state = _text(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()[:1]
            command = _text(Path(f"/proc/{pid}/cmdline")).replace("\0", " ").strip()
            if state and "multiprocessing.resource_tracker" not in command:  # Python's own, for the life of the process
                found.append(f"child process {pid}" + (" (a zombie: nobody waited for it)" if state == ["Z"] else f": {command[:200]}"))
    return found


def _mounts(directory: Path) -> list[str]:
    prefix = f"{directory}/"
    places = [line.split()[1] for line in _text(Path("/proc/self/mounts")).splitlines()]
    return [f"mount on {place}" for place in places if place.startswith(prefix) and "/run/spares/" not in place]


def _loops(directory: Path) -> list[str]:
    prefix = f"{directory}/"
    files = {device: _text(device / "loop/backing_file") for device in Path("/sys/block").glob("loop*")}
    return [f"loop device {device.name} over {file.strip()}" for device, file in files.items() if file.startswith(prefix)]


def _named() -> list[str]:
    """Control groups and links that carry the name of a watched instance."""
    if not _instances:
        return []
    cgroups, prefixes = Path("/sys/fs/cgroup"), tuple(map(interface_prefix, _instances))
    groups = [path for pattern in ("cove-*", "*/cove-*") for path in cgroups.glob(pattern) if path.name in _instances]
    links = [path.name for path in Path("/sys/class/net").iterdir() if path.name.startswith(prefixes) and not is_spare(path)]
    return [f"control group {path}" for path in groups] + [f"network link {name}" for name in links]


def is_spare(link: Path) -> bool:
    """Whether a node that runs has laid this link ahead: it comes and goes at any time, and ends with the node."""
    return _text(link / "ifalias").strip() == "spare"


def _text(file: Path) -> str:
    """The file's text; empty if it is gone, as processes' and devices' are from one moment to the next."""
    try:
        return file.read_text("utf-8", "replace")
    except OSError:
        return ""
