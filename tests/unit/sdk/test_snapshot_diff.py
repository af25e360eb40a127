"""What differs between two memory snapshots: what is known of both, and nothing that is known of one alone."""

from __future__ import annotations

import pytest

from cove._async.sandbox import _Sandbox
from cove.exception import NotFoundError
from cove.types import PortChange, ProcessChange, SnapshotPort
from cove.wire import image_pb2
from tests.support.fake_server import World


def ports_of(*ports: tuple[str, str, int]) -> list[SnapshotPort]:
    return [SnapshotPort(*port) for port in ports]


async def test_everything_that_came_and_went_is_told(sandbox: _Sandbox, world: World) -> None:
    old, new = await sandbox.snapshot(), await sandbox.snapshot()
    before, after = (world.memories.known[one.object_id] for one in (old, new))
    world.images.known |= {info.image_id: image_pb2.ImageInfo(image_id=info.image_id) for info in (before, after)}
    world.images.changes = [image_pb2.FileChange(path=b"tmp/\xff", kind="added")]
    before.processes.add(exec_id="ex-1", pid=7, program="sh")
    after.processes.add(exec_id="ex-2", pid=9, program="sh")
    for info in (before, after):
        info.children.children.add(pid=20, parent_pid=2, program="kept")
        info.ports.ports.add(protocol="tcp", address="::", port=80)
    before.children.children.add(pid=21, parent_pid=2, program="one")
    after.children.children.add(pid=21, parent_pid=2, program="other")  # exec, or the pid anew
    before.ports.ports.add(protocol="udp", address="::", port=80)
    after.ports.ports.add(protocol="tcp", address="127.0.0.1", port=80)
    diff = await old.diff(new)
    assert [(change.kind, change.path) for change in diff.files] == [("added", "/tmp/\udcff")]
    assert set(diff.processes) == {
        ProcessChange("kept", "main", 2, "python3"),
        ProcessChange("ended", "ex-1", 7, "sh"),
        ProcessChange("started", "ex-2", 9, "sh"),
        ProcessChange("kept", None, 20, "kept"),
        ProcessChange("ended", None, 21, "one"),
        ProcessChange("started", None, 21, "other"),
    }
    assert [change.pid for change in diff.processes] == sorted(change.pid for change in diff.processes)
    opened, closed = ports_of(("tcp", "127.0.0.1", 80), ("udp", "::", 80))
    assert diff.ports == (PortChange("opened", opened), PortChange("closed", closed))


@pytest.mark.parametrize("blind", ["old", "new"])
async def test_what_is_known_of_one_alone_is_no_difference(sandbox: _Sandbox, world: World, blind: str) -> None:
    old, new = await sandbox.snapshot(), await sandbox.snapshot()
    world.images.known |= {info.image_id: image_pb2.ImageInfo(image_id=info.image_id) for info in world.memories.known.values()}
    sighted = world.memories.known[(new if blind == "old" else old).object_id]
    sighted.children.children.add(pid=20, parent_pid=2, program="sh")
    sighted.ports.ports.add(protocol="tcp", address="::", port=80)
    diff = await old.diff(new)
    assert diff.ports is None
    assert diff.processes == (ProcessChange("kept", "main", 2, "python3"),)
    infos = await old.info(), await new.info()
    assert sorted(info.ports is None for info in infos) == sorted(info.children is None for info in infos) == [False, True]


async def test_one_that_is_gone_cannot_be_compared(sandbox: _Sandbox, world: World) -> None:
    old, new = await sandbox.snapshot(), await sandbox.snapshot()
    await new.delete()
    for one, other in ((old, new), (new, old)):
        with pytest.raises(NotFoundError):
            await one.diff(other)
