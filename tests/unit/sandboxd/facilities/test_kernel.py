"""The thin wrappers: what the kernel says comes out as OSError, and a thread never stays in a namespace that it only visited."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandboxd import kernel
from sandboxd.kernel import MountFlag, UmountFlag


@pytest.mark.parametrize(
    ("line", "path", "source"),
    [
        (r"36 35 98:0 / /mnt/a\040b rw - ext4 /dev/x\011y rw", "/mnt/a b", "/dev/x\ty"),
        (r"36 35 98:0 / /mnt/back\134slash rw shared:1 master:2 - tmpfs none rw", "/mnt/back\\slash", "none"),
        ("36 35 98:0 / /mnt/dash rw - btrfs - rw", "/mnt/dash", "-"),
        ("36 35 98:0 / /mnt/ümlaut\udcff rw - tmpfs x rw", "/mnt/ümlaut\udcff", "x"),
    ],
)
def test_mount_table_lines(line: str, path: str, source: str) -> None:
    entry = kernel.parse_mount(line + "\n")
    assert (str(entry.path), entry.source) == (path, source)


def test_the_real_mount_table_parses() -> None:
    assert Path("/proc") in {entry.path for entry in kernel.mounts()}


def test_a_missing_mount_point_is_fine_but_a_refused_call_is_not(tmp_path: Path) -> None:
    kernel.unmount_all(tmp_path / "nothing")
    with pytest.raises(OSError, match="do not fit") as caught:
        kernel.mount("none", tmp_path, "tmpfs", data="x" * 5000)
    assert caught.value.errno == errno.E2BIG


@pytest.fixture
def mount_point(tmp_path: Path) -> Iterator[Path]:
    point = tmp_path / "with space\tand tab"
    point.mkdir()
    yield point
    kernel.unmount_all(point, UmountFlag.DETACH)


@pytest.mark.needs_root
def test_stacked_mounts_all_go(mount_point: Path) -> None:
    for _ in range(3):
        kernel.mount("cove-test", mount_point, "tmpfs", MountFlag.NODEV)
    assert [entry.path for entry in kernel.mounts_below(mount_point.parent)] == [mount_point] * 3
    kernel.unmount_all(mount_point)
    assert list(kernel.mounts_below(mount_point.parent)) == []


@pytest.mark.needs_root
def test_errors_carry_number_and_path(mount_point: Path) -> None:
    with pytest.raises(OSError, match="with space") as caught:
        kernel.mount("none", mount_point, "no-such-fs")
    assert caught.value.errno == errno.ENODEV


@pytest.mark.needs_root
def test_a_busy_mount_stays(mount_point: Path) -> None:
    kernel.mount("none", mount_point, "tmpfs")
    with (mount_point / "file").open("w"), pytest.raises(OSError, match="busy"):
        kernel.unmount_all(mount_point)
    assert os.path.ismount(mount_point)


@pytest.mark.needs_root
def test_a_symbolic_link_is_not_followed(tmp_path: Path, mount_point: Path) -> None:
    kernel.mount("none", mount_point, "tmpfs")
    link = tmp_path / "link"
    link.symlink_to(mount_point)
    kernel.unmount_all(link)
    assert os.path.ismount(mount_point)


def current_netns() -> str:
    return str(Path("/proc/thread-self/ns/net").readlink())


@pytest.mark.needs_root
def test_a_visit_ends_even_when_it_fails() -> None:
    home = current_netns()
    with pytest.raises(ZeroDivisionError), kernel.new_netns():
        assert current_netns() != home
        raise ZeroDivisionError
    assert current_netns() == home
    with pytest.raises(FileNotFoundError), kernel.in_netns(Path("/nonexistent")):
        pass
    assert current_netns() == home


@pytest.mark.needs_root
def test_other_threads_stay_at_home() -> None:
    home = current_netns()
    seen: list[str] = []
    inside, done = threading.Event(), threading.Event()

    def visitor() -> None:
        with kernel.new_netns():
            seen.append(current_netns())
            inside.set()
            done.wait(5)

    thread = threading.Thread(target=visitor)
    thread.start()
    inside.wait(5)
    seen.append(current_netns())
    done.set()
    thread.join()
    assert seen[0] != home
    assert seen[1] == home
