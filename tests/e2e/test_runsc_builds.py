"""An upgrade of runsc beside sandboxes that run and snapshots that are kept: each goes on with the build that made it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import pytest

from cove.wire import snapshot_pb2
from sandboxd.runsc.builds import digits_of
from sandboxd.settings import NodeSettings
from tests.support.leaks import assert_holds, assert_nothing, sentry_pid
from tests.support.live_cove import LiveCove
from tests.support.raw_client import RawClient, RawSandbox

pytestmark = pytest.mark.timeout(300)

REMOVED_S: Final = 120.0
"""Two rounds of the reconciler and some."""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runsc of this module's own, to be upgraded."""
    return Path(shutil.copy(NodeSettings().runsc_path.resolve(), tmp_path_factory.mktemp("installed") / "runsc"))


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, installed: Path) -> Iterator[LiveCove]:
    instance = LiveCove(tmp_path_factory.mktemp("cove"), COVE_NODE_RUNSC_PATH=str(installed))
    with instance.running():
        yield instance
    assert_nothing(instance)


@pytest.fixture(autouse=True)
def nothing_left_behind(live: LiveCove) -> Iterator[None]:
    """The general check cannot serve: daemons come and go here."""
    yield
    assert_holds(live)


def upgrade(live: LiveCove, installed: Path) -> str:
    """Install another build, as a package manager does, and restart the daemon. Returns: the beginning of its sha256."""
    fresh = installed.with_suffix(".new")
    fresh.write_bytes(installed.read_bytes() + b"\0")  # a program does not mind what follows its sections
    fresh.chmod(0o755)
    fresh.replace(installed)
    live.restart("sandboxd")
    return digits_of(installed)


def made_by(live: LiveCove, sandbox: RawSandbox) -> str:
    """The build whose program the sandbox's sentry is, as the kernel has it."""
    return digits_of(Path(f"/proc/{sentry_pid(live, sandbox.sandbox_id)}/exe"))


def kept(live: LiveCove) -> set[str]:
    return {path.name.rpartition("-")[2] for path in (live.directory / "state" / "node" / "runsc").iterdir() if path.is_dir()}


def logged(live: LiveCove, event: str) -> list[dict[str, object]]:
    lines = [msgspec.json.decode(line) for line in live.log("sandboxd").read_bytes().splitlines() if line.startswith(b"{")]
    return [line for line in lines if line.get("event") == event]


def shell_of(sandbox: RawSandbox) -> str:
    """A shell that answers whatever is written to it."""
    exec_id = sandbox.start("sh", "-c", 'echo up; n=0; while read line; do n=$((n+1)); echo "$n $line"; done')
    assert sandbox.first_output(exec_id) == b"up\n"
    return exec_id


def says(sandbox: RawSandbox, exec_id: str, told: bytes, expected: bytes) -> None:
    status = sandbox.wait(exec_id, timeout_s=0.0)
    sandbox.write(exec_id, status.stdin_offset, told)
    while not (said := sandbox.output(exec_id, follow=False)).endswith(expected):
        assert len(said) <= 4096
        time.sleep(0.02)


def test_everything_goes_on_with_the_build_that_made_it(live: LiveCove, client: RawClient, installed: Path) -> None:
    old = digits_of(installed)
    source = client.ready()
    shell = shell_of(source)
    says(source, shell, b"a\n", b"1 a\n")
    snapshot = source.memory()
    assert snapshot.machine.runsc_build.endswith(f"-{old}") and kept(live) == {old}
    client.stored_snapshot(snapshot)  # nobody needs the node while it is away

    new = upgrade(live, installed)
    assert new != old and kept(live) == {old, new}
    (change,) = logged(live, "runsc build changed")
    assert str(change["before"]).endswith(old) and str(change["now"]).endswith(new)
    assert [(one["sandboxes"], one["snapshots"]) for one in logged(live, "runsc build kept")] == [(1, 1)]

    says(source, shell, b"b\n", b"2 b\n")
    fresh, clone = client.ready(), client.restore(snapshot)
    says(clone, shell, b"c\n", b"2 c\n")
    assert [made_by(live, one) for one in (source, clone, fresh)] == [old, old, new]
    later: list[snapshot_pb2.SnapshotInfo] = [one.memory() for one in (source, clone, fresh)]
    assert [one.machine.runsc_build.rpartition("-")[2] for one in later] == [old, old, new]

    for sandbox in (source, clone):
        sandbox.terminate()
        sandbox.ended()
    again = client.restore(later[1])  # the build has no sandbox, and snapshots still need it
    says(again, shell, b"d\n", b"3 d\n")
    live.restart("sandboxd")
    says(again, shell, b"e\n", b"4 e\n")
    assert made_by(live, again) == old and kept(live) == {old, new}
    for sandbox in (again, fresh):
        sandbox.terminate()
        sandbox.ended()
    for one in (snapshot, *later):
        client.control.SnapshotDelete(snapshot_pb2.SnapshotDeleteRequest(snapshot_id=one.snapshot_id))
    deadline = time.monotonic() + REMOVED_S
    while kept(live) != {new}:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert logged(live, "runsc build removed, nothing needed it")
