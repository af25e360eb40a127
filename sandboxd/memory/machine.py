"""What a machine must be to restore a memory snapshot, and what this one is with each build of runsc that it has."""

from __future__ import annotations

import platform
from collections.abc import Callable, Collection
from pathlib import Path

import msgspec

from cove.exception import VersionError
from cove.wire import snapshot_pb2
from sandboxd.runsc.builds import version_in

_MOST_SHOWN = 8


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """See ``MachineKind`` of the wire contract."""

    architecture: str
    runsc_version: str
    platform: str
    cpu_features: tuple[str, ...]
    runsc_build: str = ""
    """See ``runsc.builds``; empty: an older cove told the version alone."""

    @classmethod
    def this(cls, *, runsc_build: str, platform_: str) -> Machine:
        """The one that this runs on."""
        return cls(
            architecture=platform.machine(),
            runsc_version=version_in(runsc_build),
            runsc_build=runsc_build,
            platform=platform_,
            cpu_features=_cpu_features(Path("/proc/cpuinfo").read_text()),
        )

    def with_build(self, build_id: str) -> Machine:
        """The same with another build of runsc."""
        return msgspec.structs.replace(self, runsc_version=version_in(build_id), runsc_build=build_id)

    def check_restores(self, snapshot: Machine) -> None:
        """Pass if this machine can go on with memory of that one. Pure.

        Raises:  VersionError: what differs.
        """
        pairs = (
            ("architecture", self.architecture, snapshot.architecture),
            ("runsc build", *self._builds(snapshot)),
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

    def _builds(self, snapshot: Machine) -> tuple[str, str]:
        if snapshot.runsc_build:
            return self.runsc_build, snapshot.runsc_build
        return self.runsc_version, snapshot.runsc_version

    def to_wire(self) -> snapshot_pb2.MachineKind:
        return snapshot_pb2.MachineKind(
            architecture=self.architecture,
            runsc_version=self.runsc_version,
            runsc_build=self.runsc_build,
            platform=self.platform,
            cpu_features=self.cpu_features,
        )


class Machines:
    """This machine, with each build of runsc that it has.

    Args:
        current: what new sandboxes are made on.
        builds: tells those that are here now.
    """

    def __init__(self, current: Machine, builds: Callable[[], Collection[str]]) -> None:
        self.current, self._builds = current, builds

    def with_build(self, build_id: str) -> Machine:
        """With the build that a sandbox has; empty: an older cove made it, with the current one."""
        return self.current.with_build(build_id) if build_id else self.current

    def build_of(self, snapshot: Machine) -> str:
        """The build that goes on with memory of that machine: the very one, one of its version if it names none; else the current one."""
        here = {self.current.runsc_build, *self._builds()}
        if snapshot.runsc_build:
            return snapshot.runsc_build if snapshot.runsc_build in here else self.current.runsc_build
        alike = [build for build in here if version_in(build) == snapshot.runsc_version]
        return self.current.runsc_build if self.current.runsc_build in alike else min(alike, default=self.current.runsc_build)

    def restoring(self, snapshot: Machine) -> Machine:
        """With the build that goes on with memory of that machine. Raises: VersionError: what differs."""
        machine = self.with_build(self.build_of(snapshot))
        machine.check_restores(snapshot)
        return machine


def _cpu_features(cpuinfo: str) -> tuple[str, ...]:
    """``flags`` (x86) or ``Features`` (ARM) of the first processor, sorted. Pure. Source: proc(5)."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return tuple(sorted(value.split()))
    return ()
