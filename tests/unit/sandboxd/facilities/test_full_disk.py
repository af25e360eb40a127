"""Pool, root file system and sandbox together: a sandbox that fills its disk learns it from its own system call."""

from __future__ import annotations

from pathlib import Path

import pytest

from cove.types import SandboxId
from sandboxd.rootfs import RootfsMounts
from sandboxd.storage_pool import StoragePool
from tests.support import plain_runsc

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_runsc]

MIB = 2**20

SCRIPT = """
head -c 4M /dev/zero > /small && echo small fits
head -c 64M /dev/zero 2>&1 > /large || echo large does not
rm /large && head -c 2M /dev/zero > /again && echo room again
"""


async def test_a_full_disk_is_an_error_inside(instance: str, tmp_path: Path, sandbox_id: SandboxId) -> None:
    layer = tmp_path / "layer"
    for directory in ("proc", "dev"):
        (layer / directory).mkdir(parents=True)
    for program in ("sh", "head", "rm"):
        plain_runsc.install(Path("/usr/bin", program), layer)
    pool = await StoragePool.open(tmp_path / "state", instance=instance, size_bytes=512 * MIB)
    mounts = RootfsMounts(tmp_path / "run", instance=instance)
    try:
        root = mounts.mount_rootfs(sandbox_id, [layer], pool.create_upper(sandbox_id, 16 * MIB))
        output = plain_runsc.run(["/usr/bin/sh", "-c", SCRIPT], tmp_path / "bundle", rootfs=root)
        used_bytes = pool.usage(sandbox_id)
    finally:
        mounts.unmount_rootfs(sandbox_id)
        await pool.remove_upper(sandbox_id)
        await pool.close()
    lines = output.splitlines()
    assert lines[0] == "small fits"
    assert "exceeded" in lines[1]
    assert lines[2:] == ["large does not", "room again"]
    assert 6 * MIB <= used_bytes < 8 * MIB
