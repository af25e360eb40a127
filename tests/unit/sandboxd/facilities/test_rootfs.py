"""Root file systems on real overlayfs: any number and kind of layer paths, and nothing left after removal."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cove.exception import ConflictError, InvalidError
from cove.types import SandboxId, new_id
from sandboxd import kernel
from sandboxd.rootfs import MAX_LOWERS, RootfsMounts
from sandboxd.storage_pool import Upper
from tests.support import plain_runsc

pytestmark = pytest.mark.needs_root


@pytest.fixture
def mounts(instance: str, tmp_path: Path) -> Iterator[RootfsMounts]:
    rootfs = RootfsMounts(tmp_path / "run", instance=instance)
    yield rootfs
    for sandbox in rootfs.list_():
        rootfs.unmount_rootfs(sandbox)


def make_upper(path: Path) -> Upper:
    upper = Upper(path, path / "upper", path / "work")
    for directory in (upper.upper_dir, upper.work_dir):
        directory.mkdir(parents=True)
    return upper


@pytest.fixture
def upper(tmp_path: Path) -> Upper:
    return make_upper(tmp_path / "writable")


def make_layers(directory: Path, count: int, *, padding: str = "") -> list[Path]:
    """Layers, the topmost first; each has a file of its own and one that all have."""
    layers = []
    for number in range(count):
        layer = directory / f"{padding}layer-{number}"
        layer.mkdir(parents=True)
        (layer / f"own-{number}").touch()
        (layer / "shared").write_text(str(number))
        layers.append(layer)
    return layers


@pytest.mark.parametrize("padding", ["", "x" * 200])
@pytest.mark.parametrize("count", [1, 2, 60, MAX_LOWERS])
def test_any_number_of_layers(mounts: RootfsMounts, tmp_path: Path, sandbox_id: SandboxId, upper: Upper, count: int, padding: str) -> None:
    root = mounts.mount_rootfs(sandbox_id, make_layers(tmp_path, count, padding=padding), upper)
    assert {entry.name for entry in root.iterdir()} == {"shared", *(f"own-{number}" for number in range(count))}
    assert (root / "shared").read_text() == "0"


@pytest.mark.parametrize("count", [0, MAX_LOWERS + 1])
def test_too_few_and_too_many_layers_leave_nothing(
    mounts: RootfsMounts, tmp_path: Path, sandbox_id: SandboxId, upper: Upper, count: int
) -> None:
    with pytest.raises(InvalidError):
        mounts.mount_rootfs(sandbox_id, [tmp_path] * count, upper)
    assert mounts.list_() == frozenset()


@pytest.mark.parametrize("name", ["a:b", "a,b", "a\\b", 'a"b', "a b", "a\nb", "ü", "lowerdir=x,upperdir=y", ":", "\\,"])
def test_paths_that_look_like_options(mounts: RootfsMounts, tmp_path: Path, sandbox_id: SandboxId, name: str) -> None:
    layers = make_layers(tmp_path / name, 2)
    root = mounts.mount_rootfs(sandbox_id, layers, make_upper(tmp_path / f"{name}-upper"))
    (root / "written").write_text("x")
    assert (root / "own-1").exists()
    assert (tmp_path / f"{name}-upper/upper/written").exists()


def test_writes_go_to_the_upper_alone(mounts: RootfsMounts, tmp_path: Path, sandbox_id: SandboxId, upper: Upper) -> None:
    (layer,) = make_layers(tmp_path, 1)
    root = mounts.mount_rootfs(sandbox_id, [layer], upper)
    (root / "shared").write_text("changed")
    (root / "own-0").unlink()
    assert (layer / "shared").read_text() == "0"
    assert (layer / "own-0").exists()
    assert (upper.upper_dir / "shared").read_text() == "changed"


def test_two_sandboxes_share_layers_and_nothing_else(mounts: RootfsMounts, tmp_path: Path) -> None:
    layers = make_layers(tmp_path, 3)
    one, other = (mounts.mount_rootfs(SandboxId(new_id("sb")), layers, make_upper(tmp_path / name)) for name in ("one", "other"))
    (one / "secret").write_text("x")
    assert not (other / "secret").exists()


def test_device_nodes_and_setuid_mean_nothing_to_the_host(
    mounts: RootfsMounts, tmp_path: Path, sandbox_id: SandboxId, upper: Upper
) -> None:
    (layer,) = make_layers(tmp_path, 1)
    os.mknod(layer / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    root = mounts.mount_rootfs(sandbox_id, [layer], upper)
    with pytest.raises(PermissionError):
        (root / "null").open("rb")
    assert os.statvfs(root).f_flag & os.ST_NOSUID


def test_mounting_again_changes_nothing(mounts: RootfsMounts, tmp_path: Path, sandbox_id: SandboxId, upper: Upper) -> None:
    layers = make_layers(tmp_path, 2)
    root = mounts.mount_rootfs(sandbox_id, layers, upper)
    (root / "file").write_text("x")
    assert mounts.mount_rootfs(sandbox_id, layers, upper) == root
    assert len(list(kernel.mounts_below(root.parent))) == 1


def test_an_upper_can_be_mounted_again(mounts: RootfsMounts, tmp_path: Path, sandbox_id: SandboxId, upper: Upper) -> None:
    layers = make_layers(tmp_path, 2)
    (mounts.mount_rootfs(sandbox_id, layers, upper) / "file").write_text("kept")
    mounts.unmount_rootfs(sandbox_id)
    assert (mounts.mount_rootfs(sandbox_id, layers, upper) / "file").read_text() == "kept"


def test_an_upper_is_a_layer(mounts: RootfsMounts, tmp_path: Path, upper: Upper) -> None:
    """What one sandbox changed, below another sandbox's upper, looks the same: deletions, replaced and renamed directories included."""
    layer = tmp_path / "base"
    for name in ("deleted/x", "replaced/old", "renamed/x"):
        (layer / name).parent.mkdir(parents=True)
        (layer / name).write_text(name)
    first = mounts.mount_rootfs(SandboxId(new_id("sb")), [layer], upper)
    shutil.rmtree(first / "deleted")
    shutil.rmtree(first / "replaced")
    (first / "replaced").mkdir()
    (first / "replaced/new").touch()
    shutil.move(first / "renamed", first / "moved")
    (first / "x").write_text("x")
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-a", upper.upper_dir, copy], check=True)
    second = mounts.mount_rootfs(SandboxId(new_id("sb")), [copy, layer], make_upper(tmp_path / "second"))
    seen = {str(path.relative_to(second)) for path in second.rglob("*")}
    assert seen == {"replaced", "replaced/new", "moved", "moved/x", "x"}
    assert seen == {str(path.relative_to(first)) for path in first.rglob("*")}


def test_a_failed_mount_can_be_removed(mounts: RootfsMounts, tmp_path: Path, sandbox_id: SandboxId, upper: Upper) -> None:
    with pytest.raises(FileNotFoundError):
        mounts.mount_rootfs(sandbox_id, [tmp_path / "missing"], upper)
    assert mounts.list_() == {sandbox_id}
    mounts.unmount_rootfs(sandbox_id)
    mounts.unmount_rootfs(sandbox_id)
    assert mounts.list_() == frozenset()


def test_in_use_is_an_error_and_later_is_not(mounts: RootfsMounts, tmp_path: Path, sandbox_id: SandboxId, upper: Upper) -> None:
    root = mounts.mount_rootfs(sandbox_id, make_layers(tmp_path, 1), upper)
    with (root / "open").open("w"), pytest.raises(ConflictError):
        mounts.unmount_rootfs(sandbox_id)
    assert mounts.list_() == {sandbox_id}
    mounts.unmount_rootfs(sandbox_id)
    assert not root.exists()


def test_a_new_daemon_sees_and_removes_what_the_old_one_left(
    mounts: RootfsMounts, tmp_path: Path, instance: str, sandbox_id: SandboxId, upper: Upper
) -> None:
    mounts.mount_rootfs(sandbox_id, make_layers(tmp_path, 1), upper)
    again = RootfsMounts(tmp_path / "run", instance=instance)
    assert again.list_() == {sandbox_id}
    again.unmount_rootfs(sandbox_id)
    assert mounts.list_() == frozenset()


def test_stacked_mounts_and_strangers(mounts: RootfsMounts, tmp_path: Path, sandbox_id: SandboxId, upper: Upper) -> None:
    root = mounts.mount_rootfs(sandbox_id, make_layers(tmp_path, 1), upper)
    kernel.mount("over", root, "tmpfs")
    stranger = root.parent / "stranger"
    stranger.mkdir()
    kernel.mount("stranger", stranger, "tmpfs")
    try:
        assert mounts.list_() == {sandbox_id}
        mounts.unmount_rootfs(sandbox_id)
        assert mounts.list_() == frozenset()
        assert os.path.ismount(stranger)
    finally:
        kernel.umount(stranger)


@pytest.mark.parametrize("bad", ["", "..", "../../..", "stranger"])
def test_ids_that_are_paths(mounts: RootfsMounts, tmp_path: Path, upper: Upper, bad: str) -> None:
    with pytest.raises(InvalidError):
        mounts.mount_rootfs(SandboxId(bad), [tmp_path], upper)
    with pytest.raises(InvalidError):
        mounts.unmount_rootfs(SandboxId(bad))


def test_two_hundred_cycles_leave_nothing(mounts: RootfsMounts, tmp_path: Path) -> None:
    layers = make_layers(tmp_path, 5)
    for number in range(200):
        sandbox = SandboxId(new_id("sb"))
        mounts.mount_rootfs(sandbox, layers, make_upper(tmp_path / f"upper-{number}"))
        mounts.unmount_rootfs(sandbox)
    assert mounts.list_() == frozenset()
    assert not [entry for entry in kernel.mounts() if entry.path.is_relative_to(tmp_path)]


@pytest.mark.needs_runsc
def test_what_means_nothing_to_the_host_is_all_there_inside(
    mounts: RootfsMounts, tmp_path: Path, sandbox_id: SandboxId, upper: Upper
) -> None:
    """Programs start although the host would not honour their bits, and the sentry sees these bits."""
    layer = tmp_path / "layer"
    (layer / "proc").mkdir(parents=True)
    plain_runsc.install(Path("/usr/bin/stat"), layer).chmod(0o4755)
    for directory in (layer, *(path for path in layer.rglob("*") if path.is_dir()), upper.upper_dir):
        directory.chmod(0o755)
    root = mounts.mount_rootfs(sandbox_id, [layer], upper)
    argv = ["/usr/bin/stat", "--format=%a", "/usr/bin/stat"]
    assert plain_runsc.run(argv, tmp_path / "bundle", rootfs=root, uid=1000) == "4755\n"
