"""The doctor: what it says of sick machines, and that its attempts leave nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import shutil
import socket
import struct
import time
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from cove.exception import ConflictError, InternalFailure
from sandboxd.doctor import Finding, Status, checks, examine, gvisor, hard_failures, host, ports, report
from sandboxd.runsc.builds import Builds
from sandboxd.settings import NodeSettings, load


@pytest.fixture
def settings(tmp_path: Path) -> NodeSettings:
    found = load(environ={})
    guest = tmp_path / "cove-init"
    guest.write_bytes(_elf())
    return msgspec.structs.replace(found, state_dir=tmp_path, guest_path=guest, grpc_address="127.0.0.1:0", http_address="127.0.0.1:0")


def _elf(*segments: int, cut: int = 4096) -> bytes:
    """An ELF header followed by program headers of these types."""
    head = bytearray(64)
    head[:6] = b"\x7fELF\x02\x01"
    struct.pack_into("<Q", head, 32, 64)
    struct.pack_into("<HH", head, 54, 56, len(segments))
    return (bytes(head) + b"".join(struct.pack("<I", kind).ljust(56, b"\0") for kind in segments))[:cut]


def _of(findings: list[Finding], name: str) -> Finding:
    return next(found for found in findings if found.name == name)


@pytest.mark.needs_root
@pytest.mark.needs_runsc
async def test_a_fit_machine_passes_quickly_and_nothing_is_left(settings: NodeSettings) -> None:
    before = _traces()
    started = time.monotonic()
    findings = await examine(settings)
    assert time.monotonic() - started < 3
    assert [(found.name, found.detail) for found in findings if found.status is Status.FAILED] == []
    assert await hard_failures(settings) == []
    assert _traces() == before


def _traces() -> list[str]:
    """Mounts, control groups and directories of this process's probe."""
    own = f"cove-doctor-{os.getpid()}"
    groups = [root for root, _, _ in os.walk("/sys/fs/cgroup") if root.endswith(f"/{own}")]  # groups of others may go meanwhile
    return groups + [line for line in Path("/proc/self/mounts").read_text().splitlines() if "cove-doctor" in line]


HANG = "#!/bin/sh\ncase $1 in --version) echo 'runsc version 0.0~20240729.0';; *) setsid sleep 987654 & wait;; esac\n"


@pytest.mark.needs_root
async def test_a_runsc_that_hangs_is_given_up_with_all_its_children(
    settings: NodeSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "CHECK_TIMEOUT_S", 0.5)
    found = _of(await examine(_with_runsc(settings, tmp_path, HANG)), "runsc sandbox")
    assert found.status is Status.FAILED
    assert "0.5 s" in found.detail and "systrap" in found.remedy
    assert not any(b"987654" in _cmdline(path) for path in Path("/proc").glob("[0-9]*"))


def _with_runsc(settings: NodeSettings, tmp_path: Path, script: str) -> NodeSettings:
    runsc = tmp_path / "runsc"
    runsc.write_text(script)
    runsc.chmod(0o755)
    return msgspec.structs.replace(settings, runsc_path=runsc)


def _cmdline(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


@pytest.mark.needs_root
@pytest.mark.needs_runsc
@pytest.mark.parametrize("after_s", [0.0, 0.03, 0.06, 0.1, 0.15, 0.2])
async def test_a_probe_that_is_cancelled_leaves_nothing(settings: NodeSettings, after_s: float) -> None:
    before = _traces()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(after_s):
            await gvisor.check_sandbox(settings)
    assert _traces() == before


@pytest.mark.needs_root
async def test_what_runsc_says_is_in_the_cause(settings: NodeSettings, tmp_path: Path) -> None:
    broken = _with_runsc(settings, tmp_path, "#!/bin/sh\necho 'no such platform' >&2\nexit 128\n")
    with pytest.raises(ConflictError, match="no such platform") as caught:
        await gvisor.check_sandbox(broken)
    assert caught.value.remedy


async def test_who_needs_which_runsc_is_told_and_what_an_upgrade_would_orphan(settings: NodeSettings, tmp_path: Path) -> None:
    settings = msgspec.structs.replace(settings, state_dir=tmp_path / "state")
    settings = _with_runsc(settings, tmp_path, "#!/bin/sh\necho runsc version r1\n")
    assert await gvisor.check_builds(settings) == "none kept yet"
    builds = Builds(settings.node_dir / "runsc")
    await builds.take_in(settings.runsc_path)
    old = builds.current
    for name, build in (("sb-1", old), ("sb-2", ""), ("sb-3", "r0-" + "0" * 16)):
        entry = settings.node_dir / "sandboxes" / name / "sandbox.json"
        entry.parent.mkdir(parents=True)
        entry.write_bytes(msgspec.json.encode({"state": "running", "runsc_build": build}))
    with pytest.raises(ConflictError, match="r0-0000000000000000: 1 sandboxes") as caught:
        await gvisor.check_builds(settings)
    assert caught.value.remedy
    shutil.rmtree(settings.node_dir / "sandboxes" / "sb-3")
    assert f"{old} (installed): 1 sandboxes, 0 snapshots" in await gvisor.check_builds(settings)
    settings = _with_runsc(settings, tmp_path, "#!/bin/sh\necho runsc version r2\n")
    told = await gvisor.check_builds(settings)
    assert f"{old}: 1 sandboxes, 0 snapshots, orphaned if" in told and "unnamed: 1 sandboxes" in told


async def test_a_missing_runsc_names_its_path(settings: NodeSettings) -> None:
    missing = msgspec.structs.replace(settings, runsc_path=Path("/nowhere/runsc"))
    with pytest.raises(ConflictError, match="/nowhere/runsc"):
        await gvisor.check_version(missing)


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("runsc version 0.0~20240729.0\nspec: 1.0.2-dev\n", "0.0~20240729.0"),
        ("runsc version release-20251020.0\nspec: 1.1.0\n", "release-20251020.0"),
        ("runsc version 0.0~20221219.0\n", None),
        ("runsc version \n", None),
        ("", None),
        ("usage: something else 20250101", None),
    ],
)
def test_only_known_good_versions_of_runsc_pass(said: str, version: str | None) -> None:
    if version is not None:
        assert gvisor.parse_version(said) == version
        return
    with pytest.raises(ConflictError):
        gvisor.parse_version(said)


@pytest.mark.parametrize(
    ("head", "static"),
    [
        (_elf(1, 1, 4), True),
        (_elf(), True),
        (_elf(6, 3, 1), False),
        (_elf(1, 3, cut=64 + 56), False),
        (b"\x7fELF\x01" + bytes(100), False),
        (b"#!/bin/sh\n" + bytes(100), False),
        (b"", False),
    ],
    ids=["static", "no-segments", "interpreter", "cut-table", "32-bit", "script", "empty"],
)
def test_only_static_programs_can_be_guests(head: bytes, static: bool) -> None:
    assert gvisor.is_static_elf(head) is static


async def test_a_guest_that_is_not_built_says_how_to_build_it(settings: NodeSettings) -> None:
    missing = msgspec.structs.replace(settings, guest_path=Path("/nowhere/cove-init"))
    with pytest.raises(ConflictError, match="make guest"):
        await gvisor.check_guest(missing)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


async def test_a_taken_port_names_who_has_it(settings: NodeSettings, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    taken = msgspec.structs.replace(settings, http_address=f"127.0.0.1:{port}")
    with pytest.raises(ConflictError, match=f"process {os.getpid()}") as caught:
        await ports.check_addresses(taken, starting=False)
    assert "http_address" in caught.value.remedy


async def test_a_running_node_is_well_for_the_doctor_and_in_the_way_of_a_second(
    settings: NodeSettings, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ports, "find_owner", lambda port: ports.Owner(7, "/x/.venv/bin/python -m sandboxd"))
    taken = msgspec.structs.replace(settings, grpc_address=f"127.0.0.1:{listener.getsockname()[1]}")
    assert "served by cove" in await ports.check_addresses(taken, starting=False)
    with pytest.raises(ConflictError, match="cove down"):
        await ports.check_addresses(taken, starting=True)


@pytest.mark.parametrize("address", ["192.0.2.1:7710", "[2001:db8::1]:7710", "no-such-host.invalid:7710"])
async def test_an_address_of_another_machine_is_refused(settings: NodeSettings, address: str) -> None:
    with pytest.raises(ConflictError, match="cannot be bound"):
        await ports.check_addresses(msgspec.structs.replace(settings, grpc_address=address), starting=True)


_Disk = namedtuple("_Disk", ["f_bavail", "f_frsize"])


async def test_a_full_disk_stops_the_first_start_only(settings: NodeSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "statvfs", lambda path: _Disk(1, 2**30))
    with pytest.raises(ConflictError, match=r"1\.0 GiB free"):
        await host.check_disk(settings)
    with pytest.raises(ConflictError):
        await host.check_headroom(settings)
    settings.node_dir.mkdir()
    await host.check_disk(settings)


async def test_a_directory_that_does_not_exist_yet_is_judged_by_its_parent(settings: NodeSettings) -> None:
    assert "free" in await host.check_disk(msgspec.structs.replace(settings, state_dir=settings.state_dir / "a/b/c"))


async def test_missing_programs_come_with_the_packages_to_install(settings: NodeSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name, path: None if name in ("nft", "mkfs.btrfs") else name)
    with pytest.raises(ConflictError, match=r"apt-get install btrfs-progs nftables"):
        await host.check_programs(settings)


async def test_a_wrong_clock_and_an_old_kernel_are_noticed(settings: NodeSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 0.0)
    with pytest.raises(ConflictError, match="1970-01-01"):
        await host.check_clock(settings)
    for release in ("4.19.0-26-amd64", "3.10.0", "5.3-rc1"):
        monkeypatch.setattr("platform.release", lambda release=release: release)
        with pytest.raises(ConflictError, match=release):
            await host.check_kernel(settings)


async def test_without_root_the_rest_is_still_told(settings: NodeSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    findings = await examine(settings)
    assert _of(findings, "root").status is Status.FAILED
    assert _of(findings, "runsc sandbox").status is _of(findings, "network").status is Status.SKIPPED
    assert _of(findings, "guest").status is Status.OK
    assert not report.is_fit(findings)


@pytest.mark.parametrize(
    ("raised", "detail"),
    [(InternalFailure("It is broken.", remedy="Mend it."), "It is broken."), (OSError(5, "Input/output error"), "Input/output error")],
)
@pytest.mark.parametrize("hard", [True, False])
async def test_whatever_a_check_raises_is_a_finding(
    settings: NodeSettings, monkeypatch: pytest.MonkeyPatch, raised: Exception, detail: str, hard: bool
) -> None:
    async def broken(settings: NodeSettings) -> str:
        raise raised

    monkeypatch.setattr(checks, "CHECKS", (checks.Check("broken", broken, hard=hard, root=False),))
    found = _of(await examine(settings), "broken")
    assert (found.status, found.hard) == (Status.FAILED if hard else Status.WARNING, hard)
    assert detail in found.detail and found.remedy
    failures = await hard_failures(settings)
    assert [(failure.cause, failure.remedy) for failure in failures] == ([(found.detail, found.remedy)] if hard else [])


def test_table_and_json_say_the_same() -> None:
    bad = Finding(name="one", status=Status.FAILED, hard=True, detail="it [is] bad", remedy="do [this]")
    soft = Finding(name="two", status=Status.WARNING, hard=False, detail="well")
    shown = io.StringIO()
    report.print_table([bad, soft], Console(width=200, file=shown))
    text = shown.getvalue()
    assert "it [is] bad" in text and "do [this]" in text and "failed" in text
    decoded: dict[str, Any] = msgspec.json.decode(report.as_json([bad, soft]))
    assert decoded["ok"] is False
    assert decoded["checks"][0] == {"name": "one", "status": "failed", "hard": True, "detail": "it [is] bad", "remedy": "do [this]"}
    assert report.is_fit([soft])
