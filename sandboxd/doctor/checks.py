"""The list of checks and how they are run: at the same time, each bounded, whatever it raises."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from functools import partial
from typing import Final

import msgspec

from cove.exception import ConflictError, Error
from sandboxd.doctor import gvisor, host, ports
from sandboxd.settings import NodeSettings

CHECK_TIMEOUT_S: Final = 5.0
"""Everything that works takes under a second; the KVM platform, for one, can hang for ever where it does not."""

Run = Callable[[NodeSettings], Awaitable[str]]


class Status(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


class Check(msgspec.Struct, frozen=True):
    """One question. ``run`` answers with a fact, or raises an error with cause and remedy."""

    name: str
    run: Run
    hard: bool = True
    """Whether cove cannot work without it; else a failure is a warning."""
    root: bool = True
    """Whether only root can tell."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What a check came to."""

    name: str
    status: Status
    hard: bool
    detail: str
    """The fact, or the cause."""
    remedy: str = ""


CHECKS: Final[Sequence[Check]] = (
    Check("root", host.check_root, root=False),
    Check("kernel", host.check_kernel, root=False),
    Check("programs", host.check_programs, root=False),
    Check("file systems", host.check_filesystems),
    Check("control groups", host.check_cgroups),
    Check("network", host.check_network),
    Check("nftables", host.check_nftables),
    Check("runsc version", gvisor.check_version, root=False),
    Check("runsc builds", gvisor.check_builds, hard=False),
    Check("runsc sandbox", gvisor.check_sandbox),
    Check("guest", gvisor.check_guest, root=False),
    Check("disk", host.check_disk, root=False),
    Check("disk headroom", host.check_headroom, hard=False, root=False),
    Check("clock", host.check_clock, hard=False, root=False),
)


async def examine(settings: NodeSettings, *, starting: bool = False) -> list[Finding]:
    """Every check's finding, in the order of :data:`CHECKS`; about half a second.

    Args:    starting: whether a daemon asks that is about to start: its addresses must be free then, not merely cove's.
    """
    checks = [*CHECKS, Check("addresses", partial(ports.check_addresses, starting=starting))]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_examine(check, settings), name=f"check {check.name}") for check in checks]
    return [task.result() for task in tasks]


async def hard_failures(settings: NodeSettings) -> list[Error]:
    """Why a daemon cannot start here; empty if it can."""
    findings = await examine(settings, starting=True)
    return [ConflictError(found.detail, remedy=found.remedy) for found in findings if found.status is Status.FAILED]


async def _examine(check: Check, settings: NodeSettings) -> Finding:
    if check.root and os.geteuid() != 0:
        return Finding(name=check.name, status=Status.SKIPPED, hard=check.hard, detail="Only root can tell.")
    bad = Status.FAILED if check.hard else Status.WARNING
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            fact = await check.run(settings)
    except Error as error:
        return Finding(name=check.name, status=bad, hard=check.hard, detail=error.cause, remedy=error.remedy)
    except TimeoutError:
        cause = f"The check did not come to an end within {CHECK_TIMEOUT_S:g} s."
        return Finding(
            name=check.name, status=bad, hard=check.hard, detail=cause, remedy=_HANGS.get(check.name, "Is the machine overloaded?")
        )
    except OSError as error:
        cause = f"The check itself failed: {error}."
        return Finding(
            name=check.name, status=bad, hard=check.hard, detail=cause, remedy="Run `cove doctor` as root on the machine itself."
        )
    return Finding(name=check.name, status=Status.OK, hard=check.hard, detail=fact)


_HANGS: Final = {"runsc sandbox": 'Where the platform is kvm, nested virtualisation may be missing: set runsc_platform = "systrap".'}
