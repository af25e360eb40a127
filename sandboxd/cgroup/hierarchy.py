"""How this machine's control groups are mounted: v2's one hierarchy, or v1's many (with or without an empty v2 beside them).

Source: cgroups(7); Linux admin guide, "cgroup-v1/" and "cgroup-v2.rst".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from cove.exception import InternalFailure
from sandboxd.kernel import Mount

NEEDED: Final = ("memory", "pids", "cpu")
"""Controllers without which sandboxes cannot be limited."""

_V1_CONTROLLERS: Final = frozenset(
    {"blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "hugetlb", "memory", "net_cls", "net_prio", "pids"}
)


class Hierarchies(msgspec.Struct, frozen=True):
    """Where control groups are found."""

    version: int
    """1 or 2: of the hierarchies that limit. A hybrid machine is version 1."""
    roots: tuple[Path, ...]
    """Every hierarchy in which a sandbox may have a group."""
    controllers: Mapping[str, Path]
    """Controller to the root of its hierarchy."""


def find_hierarchies(mounts: Iterable[Mount]) -> Hierarchies:
    """Read the hierarchies off the mount table; of one that is mounted twice the first counts.

    Raises: InternalFailure: a controller that cove needs is not there.
    """
    roots: dict[str, Path] = {}
    controllers: dict[str, Path] = {}
    unified: Path | None = None
    for entry in mounts:
        if entry.fstype == "cgroup2":
            unified = unified or entry.path
        elif entry.fstype == "cgroup":
            names = [option for option in entry.options.split(",") if option in _V1_CONTROLLERS or option.startswith("name=")]
            roots.setdefault(",".join(names), entry.path)
            for name in names:
                controllers.setdefault(name, entry.path)
    if controllers.keys() & set(NEEDED):
        found = Hierarchies(1, tuple(roots.values()) + ((unified,) if unified else ()), controllers)
    elif unified:
        found = Hierarchies(2, (unified,), dict.fromkeys(_v2_controllers(unified), unified))
    else:
        found = Hierarchies(2, (), {})
    missing = [name for name in NEEDED if name not in found.controllers]
    if missing:
        raise InternalFailure(
            f"The control group controllers {', '.join(missing)} are not mounted.",
            remedy="Mount cgroup2 at /sys/fs/cgroup, and do not disable controllers on the kernel's command line.",
            retryable=False,
        )
    return found


def _v2_controllers(root: Path) -> list[str]:
    return (root / "cgroup.controllers").read_text().split()
