"""Version 2 of control groups, against a directory tree that looks like it: this needs no machine that has it.

What a directory cannot show is the kernel's part: that ``cgroup.kill`` kills and that limits hold.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from cove.exception import InternalFailure
from cove.types import SandboxId
from sandboxd.cgroup import Cgroups
from sandboxd.cgroup.hierarchy import Hierarchies, find_hierarchies
from sandboxd.cgroup.parent import make_parent
from sandboxd.kernel import Mount

CONTROLLERS = "cpuset cpu io memory hugetlb pids rdma\n"

READINGS = {
    "memory.current": "1000000\n",
    "memory.peak": "3000000\n",
    "memory.stat": "anon 700000\nfile 300000\ninactive_file 250000\n",
    "memory.events": "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n",
    "cpu.stat": "usage_usec 1500000\nuser_usec 1000000\nsystem_usec 500000\n",
    "cgroup.procs": "",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "cgroup.controllers").write_text(CONTROLLERS)
    (tmp_path / "cgroup.subtree_control").write_text("")
    return tmp_path


@pytest.fixture
def hierarchies(root: Path) -> Hierarchies:
    return find_hierarchies([Mount(root, "cgroup2", "cgroup2", "rw,nsdelegate")])


def make_group(path: Path, files: Mapping[str, str] = READINGS) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (path / name).write_text(text)
    return path


@pytest.fixture
def groups(hierarchies: Hierarchies) -> Cgroups:
    return Cgroups(hierarchies, instance="cove-v2", node_memory_bytes=2**30)


def test_readings(groups: Cgroups, root: Path, sandbox_id: SandboxId) -> None:
    make_group(root / "cove-v2" / sandbox_id)
    assert groups.list_() == {sandbox_id}
    assert groups.oom_kills(sandbox_id) == 2
    assert groups.memory_bytes(sandbox_id) == 750_000
    assert groups.memory_peak_bytes(sandbox_id) == 3_000_000
    assert groups.cpu_seconds(sandbox_id) == 1.5


def test_kernels_without_a_peak_tell_what_is_in_use(groups: Cgroups, root: Path, sandbox_id: SandboxId) -> None:
    (make_group(root / "cove-v2" / sandbox_id) / "memory.peak").unlink()
    assert groups.memory_peak_bytes(sandbox_id) == 1_000_000


def test_processes_of_all_groups_below_count(groups: Cgroups, root: Path, sandbox_id: SandboxId) -> None:
    place = make_group(root / "cove-v2" / sandbox_id, {"cgroup.procs": "17\n19\n"})
    make_group(place / "below/further", {"cgroup.procs": "23\n0\n"})
    (place / "below/cgroup.procs").write_text("")
    assert groups.pids(sandbox_id) == {17, 19, 23}


def test_kill_writes_the_kernels_own_switch(groups: Cgroups, root: Path, sandbox_id: SandboxId) -> None:
    """A number far above the largest possible process id stands for a process that only the kernel could kill."""
    place = make_group(root / "cove-v2" / sandbox_id, {"cgroup.procs": "999999999\n", "cgroup.kill": ""})

    def kernel_kills() -> None:
        while not (place / "cgroup.kill").read_text():
            pass
        (place / "cgroup.procs").write_text("")

    kernel = threading.Thread(target=kernel_kills)
    kernel.start()
    groups.kill(sandbox_id)
    kernel.join()
    assert (place / "cgroup.kill").read_text() == "1"
    assert groups.pids(sandbox_id) == frozenset()


def test_removal_is_from_the_leaves_up(groups: Cgroups, root: Path, sandbox_id: SandboxId) -> None:
    (root / "cove-v2" / sandbox_id / "a/b").mkdir(parents=True)
    groups.remove(sandbox_id)
    groups.remove(sandbox_id)
    assert groups.list_() == frozenset()


class FakeKernel:
    """Fills new groups with files, as the kernel does; a write to subtree_control is kept as the last one only."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, used_bytes: int = 0) -> None:
        self.writes: list[tuple[str, str]] = []
        make, write = Path.mkdir, Path.write_text

        def mkdir(path: Path, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
            make(path, mode, parents, exist_ok)
            write(path / "memory.current", str(used_bytes))
            write(path / "memory.swap.max", "max")

        def write_text(path: Path, text: str) -> int:
            self.writes.append((f"{path.parent.name}/{path.name}", text))
            return write(path, text)

        monkeypatch.setattr(Path, "mkdir", mkdir)
        monkeypatch.setattr(Path, "write_text", write_text)


def test_the_group_of_all_sandboxes(hierarchies: Hierarchies, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = FakeKernel(monkeypatch)
    make_parent(hierarchies, "cove-v2", memory_bytes=2**30, max_tasks=1000)
    here = root.name
    written = dict(kernel.writes)
    assert written["cove-v2/memory.max"] == str(2**30)
    assert written["cove-v2/memory.swap.max"] == "0"
    assert written["cove-v2/pids.max"] == "1000"
    for group in (here, "cove-v2"):
        enabled = {text for file, text in kernel.writes if file == f"{group}/cgroup.subtree_control"}
        assert enabled == {"+memory", "+pids", "+cpu", "+cpuset", "+io"}
    first_limit = next(index for index, (file, _) in enumerate(kernel.writes) if file.startswith("cove-v2/"))
    assert (f"{here}/cgroup.subtree_control", "+memory") in kernel.writes[:first_limit]


def test_a_limit_below_what_is_in_use_is_not_written(hierarchies: Hierarchies, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = FakeKernel(monkeypatch, used_bytes=2**31)
    make_parent(hierarchies, "cove-v2", memory_bytes=2**30, max_tasks=1000)
    assert "cove-v2/memory.max" not in dict(kernel.writes)


def test_find_version_2(root: Path, hierarchies: Hierarchies) -> None:
    assert hierarchies.version == 2
    assert hierarchies.roots == (root,)
    assert hierarchies.controllers["memory"] == root


V1 = [
    Mount(Path("/sys/fs/cgroup/cpu,cpuacct"), "cgroup", "cgroup", "rw,cpu,cpuacct"),
    Mount(Path("/sys/fs/cgroup/memory"), "cgroup", "cgroup", "rw,memory"),
    Mount(Path("/sys/fs/cgroup/pids"), "cgroup", "cgroup", "rw,pids"),
    Mount(Path("/sys/fs/cgroup/systemd"), "cgroup", "cgroup", "rw,xattr,name=systemd"),
]


def test_find_version_1_with_joined_controllers_and_hybrid() -> None:
    unified = Mount(Path("/sys/fs/cgroup/unified"), "cgroup2", "cgroup2", "rw")
    other = Mount(Path("/proc"), "proc", "proc", "rw,memory")
    twice = Mount(Path("/elsewhere"), "cgroup", "cgroup", "rw,memory")
    found = find_hierarchies([other, unified, *V1, twice])
    assert found.version == 1
    assert found.controllers["cpu"] == found.controllers["cpuacct"] == Path("/sys/fs/cgroup/cpu,cpuacct")
    assert found.controllers["memory"] == Path("/sys/fs/cgroup/memory")
    assert set(found.roots) == {entry.path for entry in [*V1, unified]}


@pytest.mark.parametrize("mounts", [[], V1[:1], V1[1:]])
def test_missing_controllers_are_named(mounts: list[Mount]) -> None:
    with pytest.raises(InternalFailure, match="not mounted") as caught:
        find_hierarchies(mounts)
    assert not caught.value.retryable


def test_version_2_without_memory_is_refused(root: Path) -> None:
    (root / "cgroup.controllers").write_text("cpu pids\n")
    with pytest.raises(InternalFailure, match="memory"):
        find_hierarchies([Mount(root, "cgroup2", "cgroup2", "rw")])
