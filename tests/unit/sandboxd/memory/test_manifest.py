"""Manifests: every damage to every file is found and named, and nothing secret is in one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from cove.exception import DataLossError, VersionError
from cove.wire import common_pb2
from sandboxd.memory import manifest as manifests
from sandboxd.memory.layout import MANIFEST
from sandboxd.memory.machine import Machine, Machines, _cpu_features
from sandboxd.memory.manifest import Manifest, SeenProcess, check_files, hash_files, look_of, program_of, read_manifest, write_manifest
from sandboxd.memory.seen import SeenChild, SeenPort

MACHINE = Machine(architecture="x86_64", runsc_version="1", platform="systrap", cpu_features=("avx", "sse"))


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    """A whole one."""
    for name, content in {
        "image/pages.img": b"p" * 5000,
        "image/checkpoint.img": b"c",
        "state/execs.log": b"",
        "state/output/x": b"o",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    write_manifest(tmp_path, made(tmp_path))
    return tmp_path


def made(directory: Path) -> Manifest:
    seen = SeenProcess(exec_id="ex-1", pid=2, pty=False, program="python3")
    return Manifest(snapshot_id="sn-1", layer_id="ly-1", machine=MACHINE, stopped_s=0.1, processes=(seen,), files=hash_files(directory))


def test_a_whole_one_passes_and_counts_its_bytes(snapshot: Path) -> None:
    manifest = read_manifest(snapshot)
    check_files(snapshot, manifest)
    assert (manifest.size_bytes, len(manifest.files)) == (5002, 4)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def swap_for_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


def swap_for_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("name", ["image/pages.img", "image/checkpoint.img", "state/output/x"])
@pytest.mark.parametrize(
    "damage",
    [
        flip,
        Path.unlink,
        swap_for_link,
        swap_for_pipe,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes() + b"x"),
    ],
    ids=["flip", "remove", "link", "pipe", "truncate", "extend"],
)
def test_every_damage_is_found_and_named(snapshot: Path, name: str, damage: Callable[[Path], object]) -> None:
    before = look_of(snapshot)
    damage(snapshot / name)
    with pytest.raises(DataLossError, match=Path(name).name):
        check_files(snapshot, read_manifest(snapshot))
    if (snapshot / name).is_file():
        assert look_of(snapshot) != before


def test_a_file_too_many_is_found(snapshot: Path) -> None:
    (snapshot / "image/extra").touch()
    with pytest.raises(DataLossError, match="extra"):
        check_files(snapshot, read_manifest(snapshot))


@pytest.mark.parametrize("target", ["/etc", "../image", "nowhere"])
def test_a_link_to_a_directory_is_found(snapshot: Path, target: str) -> None:
    (snapshot / "state/extra").symlink_to(target)
    look_of(snapshot)
    with pytest.raises(DataLossError, match="extra"):
        check_files(snapshot, read_manifest(snapshot))
    with pytest.raises((DataLossError, OSError)):
        hash_files(snapshot)


@pytest.mark.parametrize("swap", [swap_for_link, swap_for_pipe, lambda path: (path.unlink(), path.symlink_to("/dev/zero"))])
def test_a_manifest_is_read_from_a_regular_file_alone(snapshot: Path, swap: Callable[[Path], object]) -> None:
    swap(snapshot / MANIFEST)
    with pytest.raises(DataLossError):
        read_manifest(snapshot)


@pytest.mark.parametrize("content", [None, b"", b"{}", b"[]", b"\xff", b'{"format": 1}', b"{" * 100_000])
def test_a_manifest_that_is_none(snapshot: Path, content: bytes | None) -> None:
    (snapshot / MANIFEST).unlink()
    if content is not None:
        (snapshot / MANIFEST).write_bytes(content)
    with pytest.raises(DataLossError):
        read_manifest(snapshot)


def test_a_manifest_of_another_format_or_without_end(snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_manifest(snapshot, msgspec.structs.replace(made(snapshot), format=99))
    with pytest.raises(DataLossError, match="99"):
        read_manifest(snapshot)
    monkeypatch.setattr(manifests, "MAX_BYTES", 10)
    with pytest.raises(DataLossError, match="large"):
        read_manifest(snapshot)


@pytest.mark.parametrize(
    ("argv", "program"),
    [([b"/usr/bin/curl", b"-H", b"Authorization: s3cret"], "curl"), ([], ""), ([b"\xff" * 100], "\ufffd" * 64), ([b"a/"], "a")],
)
def test_of_a_command_its_program_is_told(argv: list[bytes], program: str) -> None:
    assert program_of(argv) == program


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"architecture": "aarch64"}, "aarch64"),
        ({"runsc_version": "2"}, "runsc build '2'"),
        ({"platform": "kvm"}, "kvm"),
        ({"cpu_features": ("avx", "avx512f", "sse")}, "avx512f"),
    ],
)
def test_another_machine_is_refused_with_the_reason(change: dict[str, object], told: str) -> None:
    with pytest.raises(VersionError, match=told) as caught:
        MACHINE.check_restores(msgspec.structs.replace(MACHINE, **change))
    assert caught.value.remedy


OLD, NEW = f"1-{'a' * 16}", f"2-{'b' * 16}"


def test_memory_goes_on_with_the_build_that_it_was_taken_with() -> None:
    new = msgspec.structs.replace(MACHINE, runsc_version="2", runsc_build=NEW)
    both, one = Machines(new, lambda: (OLD, NEW)), Machines(new, lambda: (NEW,))
    by_old, by_version = msgspec.structs.replace(MACHINE, runsc_build=OLD), MACHINE
    for snapshot in (by_old, by_version):
        machine = both.restoring(snapshot)
        assert (machine.runsc_version, machine.runsc_build) == ("1", OLD)
        with pytest.raises(VersionError, match="runsc build"):
            one.restoring(snapshot)
        with pytest.raises(VersionError, match="kvm"):
            both.restoring(msgspec.structs.replace(snapshot, platform="kvm"))
    assert both.restoring(new) == one.restoring(new) == new
    assert both.with_build("") == new


def test_another_build_of_the_same_version_is_another() -> None:
    here = Machines(msgspec.structs.replace(MACHINE, runsc_build=OLD), lambda: (OLD,))
    with pytest.raises(VersionError, match="b" * 16):
        here.restoring(msgspec.structs.replace(MACHINE, runsc_build=f"1-{'b' * 16}"))
    assert here.restoring(MACHINE).runsc_build == OLD


def test_a_machine_that_can_more_restores() -> None:
    MACHINE.check_restores(msgspec.structs.replace(MACHINE, cpu_features=("sse",)))


def test_features_of_processors() -> None:
    assert _cpu_features("processor : 0\nflags\t\t: sse avx\n\nprocessor : 1\nflags : x\n") == ("avx", "sse")
    assert _cpu_features("Features\t: fp asimd\n") == ("asimd", "fp") and _cpu_features("") == ()


def test_one_of_an_older_cove_knows_of_no_children_and_ports(snapshot: Path) -> None:
    fields = msgspec.json.decode((snapshot / MANIFEST).read_bytes())
    del fields["children"], fields["ports"]
    (snapshot / MANIFEST).write_bytes(msgspec.json.encode(fields))
    manifest = read_manifest(snapshot)
    assert manifest.children is None and manifest.ports is None
    told = manifest.to_wire(common_pb2.SandboxSpec())
    assert not told.HasField("children") and not told.HasField("ports")


def test_the_router_is_told_what_was_seen(snapshot: Path) -> None:
    seen = SeenPort(protocol="tcp", address="::1", port=80), SeenChild(pid=9, parent_pid=2, program="sh")
    told = msgspec.structs.replace(read_manifest(snapshot), ports=seen[:1], children=seen[1:]).to_wire(common_pb2.SandboxSpec(workdir="/x"))
    assert [(port.protocol, port.address, port.port) for port in told.ports.ports] == [("tcp", "::1", 80)]
    assert [(child.pid, child.parent_pid, child.program) for child in told.children.children] == [(9, 2, "sh")]
    assert (told.spec.workdir, told.processes[0].exec_id, told.memory_bytes) == ("/x", "ex-1", 5002)
    empty = msgspec.structs.replace(read_manifest(snapshot), ports=(), children=()).to_wire(common_pb2.SandboxSpec())
    assert empty.HasField("ports") and empty.HasField("children")
