"""No file of the host is visible inside: not by name, not by content, not by way of /proc, links, the file API or the mount table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import cove
from tests.security.host import MARKER_FILE_BYTES, MarkedHost, marked
from tests.security.probe import inside
from tests.support.live_cove import LiveCove
from tests.support.live_fixtures import Sandboxes


@pytest.fixture(scope="module")
def host(live: LiveCove, shared: cove.Sandbox) -> Iterator[MarkedHost]:
    """Marked files all over the host, the instance's own directories included; ``shared`` runs, so that those exist."""
    system = ["/", "/tmp", "/var/tmp", "/root", "/home", "/etc", "/opt", "/srv", "/mnt", "/run", "/dev/shm", "/usr/lib", "/var/lib"]
    own = [
        live.directory,
        *(path for path in sorted(live.directory.glob("run/**/")) if "runsc" not in path.parts and "rootfs" not in path.parts),
    ]
    directories = [*map(Path, system), *own, *sorted(live.directory.glob("state/*/"))]
    with marked([path for path in directories if not _inside_a_sandbox(path, shared)]) as host:
        yield host


def _inside_a_sandbox(path: Path, shared: cove.Sandbox) -> bool:
    """Layers and upper directories are what a sandbox shall see; the host merely keeps them."""
    return shared.object_id in str(path) or "guest-" in str(path)


def search(marker: str, size: int) -> list[str]:
    """Paths with the marker in their name, target or content, over the whole file system."""
    import os

    found = []
    for directory, names, files in os.walk("/"):
        if directory == "/":
            names[:] = [name for name in names if name != "proc"]
        for name in [*names, *files]:
            path = os.path.join(directory, name)
            try:
                status = os.lstat(path)
                if marker in name or (os.path.islink(path) and marker in os.readlink(path)):
                    found.append(path)
                elif status.st_size == size and os.path.isfile(path):
                    with open(path, "rb") as file:
                        if marker.encode() in file.read():
                            found.append(path)
            except OSError:
                continue
    return found


def test_a_search_of_everything_finds_no_host_file(host: MarkedHost, shared: cove.Sandbox) -> None:
    assert inside(shared, search, host.marker, MARKER_FILE_BYTES) == []


def test_the_search_would_find_one(host: MarkedHost, sandboxes: Sandboxes) -> None:
    sandbox = sandboxes.create()
    with sandbox.open("/var/planted", "w") as file:
        file.write(Path(host.paths[0]).read_text())
    assert inside(sandbox, search, host.marker, MARKER_FILE_BYTES) == ["/var/planted"]


def open_through_proc(paths: list[str]) -> list[str]:
    """Those of ``paths`` that open, directly or through what /proc links to."""
    import glob

    opened = []
    prefixes = ["", "/proc/self/root", "/proc/self/cwd/../../../../..", *glob.glob("/proc/[0-9]*/root"), *glob.glob("/proc/[0-9]*/cwd")]
    prefixes += [f"{link}/../../../../../.." for link in glob.glob("/proc/[0-9]*/cwd")] + glob.glob("/proc/[0-9]*/fd/*")
    for prefix in prefixes:
        for path in paths:
            try:
                with open(prefix + path, "rb"):
                    opened.append(prefix + path)
            except OSError:
                continue
    return opened


def test_no_link_in_proc_leads_to_a_host_file(host: MarkedHost, shared: cove.Sandbox) -> None:
    assert inside(shared, open_through_proc, list(host.paths)) == []


def mount_tables() -> str:
    import glob

    text = ""
    for name in ("mountinfo", "mounts", "mountstats", "maps", "cmdline", "environ"):
        for path in glob.glob(f"/proc/[0-9]*/{name}"):
            try:
                with open(path, errors="replace") as file:
                    text += file.read()
            except OSError:
                continue
    return text


def test_no_table_tells_a_path_of_the_host(live: LiveCove, shared: cove.Sandbox) -> None:
    tables = inside(shared, mount_tables)
    assert " / / " in tables
    assert str(live.directory) not in tables
    assert live.instance not in tables


def test_the_file_api_opens_no_host_file(host: MarkedHost, shared: cove.Sandbox) -> None:
    for path in host.paths:
        for shown in (path, f"/proc/1/root{path}", f"/tmp/../../../../..{path}"):
            with pytest.raises(FileNotFoundError):
                shared.open(shown)
        assert host.marker not in shared.ls("/")


def test_links_to_the_host_lead_nowhere(host: MarkedHost, sandboxes: Sandboxes) -> None:
    sandbox = sandboxes.create()
    sandbox.exec("ln", "-s", host.paths[1], "/tmp/link").wait()
    sandbox.exec("ln", "-s", "../../../../../../../../../../../.." + host.paths[1], "/tmp/relative").wait()
    for link in ("/tmp/link", "/tmp/relative"):
        with pytest.raises(FileNotFoundError):
            sandbox.open(link)


def leave_a_chroot() -> list[str]:
    """The classic way out: keep a descriptor outside, chroot below it, climb."""
    import os

    os.makedirs("/tmp/cell", exist_ok=True)
    outside = os.open("/", os.O_RDONLY)
    os.chroot("/tmp/cell")
    os.fchdir(outside)
    for _ in range(64):
        os.chdir("..")
    os.chroot(".")
    return sorted(os.listdir("/"))


def test_leaving_a_chroot_leads_to_the_sandboxs_own_root(host: MarkedHost, shared: cove.Sandbox) -> None:
    assert inside(shared, leave_a_chroot) in ([], sorted(shared.ls("/"))), "still in the cell, or in the sandbox"


def open_by_handle() -> Any:
    """The handle trick that left other runtimes: guess the host's root inode."""
    import ctypes
    import os
    import struct

    libc = ctypes.CDLL(None, use_errno=True)
    handle = ctypes.create_string_buffer(struct.pack("<Ii", 8, 1) + struct.pack("<II", 2, 0))
    mount = os.open("/", os.O_RDONLY)
    opened = libc.syscall(304, mount, handle, os.O_RDONLY)
    return sorted(os.listdir(opened)) if opened >= 0 else ctypes.get_errno()


def test_file_handles_open_nothing(shared: cove.Sandbox) -> None:
    assert inside(shared, open_by_handle) in (1, 38, 95)  # EPERM, ENOSYS, EOPNOTSUPP
