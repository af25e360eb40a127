"""What a machine must be to restore a memory snapshot."""

from __future__ import annotations

import platform
from pathlib import Path

import msgspec

from cove.exception import VersionError
from cove.wire import snapshot_pb2

_MOST_SHOWN = 8


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """See ``MachineKind`` of the wire contract."""

    architecture: str
    runsc_version: str
    platform: str
    cpu_features: tuple[str, ...]

    @classmethod
    def this(cls, *, runsc_version: str, platform_: str) -> Machine:
        """The one that this runs on."""
        features = _cpu_features(Path("/proc/cpuinfo").read_text())
        return cls(architecture=platform.machine(), runsc_version=runsc_version, platform=platform_, cpu_features=features)

    def check_restores(self, snapshot: Machine) -> None:
        """Pass if this machine can go on with memory of that one. Pure.

        Raises:  VersionError: what differs.
        """
        pairs = (
            ("architecture", self.architecture, snapshot.architecture),
            ("runsc build", self.runsc_version, snapshot.runsc_version),
            ("platform", self.platform, snapshot.platform),
        )
        for what, ours, theirs in pairs:
            if ours != theirs:
                raise VersionError(
                    f"The snapshot was taken with the {what} {theirs[:80]!r}; this node has {ours!r}.",
                    remedy="Restore it on a node like the one that took it, or start from its files alone (`snapshot.image`).",
                )
        if missing := sorted(set(snapshot.cpu_features) - set(self.cpu_features)):
            raise VersionError(
                f"This node's processor lacks what programs in the snapshot may use: {', '.join(missing[:_MOST_SHOWN])}.",
                remedy="Restore it on a node with the same kind of processor.",
            )

    def to_wire(self) -> snapshot_pb2.MachineKind:
        return snapshot_pb2.MachineKind(
            architecture=self.architecture, runsc_version=self.runsc_version, platform=self.platform, cpu_features=self.cpu_features
        )


def _cpu_features(cpuinfo: str) -> tuple[str, ...]:
    """``flags`` (x86) or ``Features`` (ARM) of the first processor, sorted. Pure. Source: proc(5)."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return tuple(sorted(value.split()))
    return ()
