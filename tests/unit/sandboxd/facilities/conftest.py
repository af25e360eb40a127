"""What tests of kernel facilities share: an instance of their own, and the proof that they leave nothing behind."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from cove.types import SandboxId, new_id
from sandboxd import kernel
from sandboxd.cgroup import Cgroups
from sandboxd.naming import interface_prefix
from sandboxd.network.netlink import Netlink


@pytest.fixture
def sandbox_id() -> SandboxId:
    return SandboxId(new_id("sb"))


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[str]:
    """A name nobody else uses; fails if any mount, link, packet filter or control group with it, or any mount of the test, is left."""
    name = f"cove-t{secrets.token_hex(4)}"
    yield name
    left = [str(entry.path) for entry in kernel.mounts() if entry.path.is_relative_to(tmp_path)]
    with Netlink() as netlink:
        left += [link.name for link in netlink.links() if link.name.startswith(interface_prefix(name))]
    left += [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/{name}")]
    assert left == []


@pytest.fixture
def groups(instance: str) -> Iterator[Cgroups]:
    """The control groups of the instance; none is left."""
    opened = Cgroups.open(instance=instance, memory_reserve_bytes=256 * 2**20)
    yield opened
    for sandbox in opened.list_():
        opened.kill(sandbox)
        opened.remove(sandbox)
    opened.close()
