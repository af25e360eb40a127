"""What goes wrong while memory is written, kept or restored: the source runs on, no half snapshot is ever listed, nothing is left."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from cove.exception import ConflictError, DataLossError, Error
from cove.types import is_id
from cove.wire import common_pb2, data_pb2, snapshot_pb2
from tests.support.leaks import FREED_S, assert_holds, sentry_pid
from tests.support.live_cove import LiveCove
from tests.support.raw_client import RawClient, RawSandbox, ending
from tests.support.runsc_hold import RunscHold
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(240)

PIECES_BYTES = (64 * 2**20, 2**18)
COUNT = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done"


@pytest.fixture(scope="module")
def live(held_live: LiveCove) -> LiveCove:
    return held_live


@pytest.fixture(autouse=True)
def nothing_left_behind(live: LiveCove, client: RawClient) -> Iterator[None]:
    """Nothing of any sandbox may be left, and of snapshots whole ones alone. The general check cannot serve: daemons come and go here."""
    yield
    assert_holds(live)
    eventually(lambda: strangers(live) == [], FREED_S)  # what is on its way to the store is being packed there


def memory_dir(live: LiveCove) -> Path:
    return live.directory / "state" / "memory"


def strangers(live: LiveCove) -> list[str]:
    """What lies among the memory snapshots and is none."""
    names = {path.name for path in memory_dir(live).iterdir()}
    return sorted(name for name in names if not is_id(name.removesuffix(".json"), "sn") or name.removesuffix(".json") not in names)


def counting(client: RawClient) -> tuple[RawSandbox, str]:
    """A sandbox with a process that counts."""
    sandbox = client.ready()
    exec_id = sandbox.start("sh", "-c", COUNT)
    sandbox.first_output(exec_id)
    return sandbox, exec_id


def counts_on(sandbox: RawSandbox, exec_id: str) -> None:
    """Pass once the process has counted further, without a gap from the first number on."""
    before = sandbox.wait(exec_id, timeout_s=0.0).stdout_bytes
    while sandbox.wait(exec_id, timeout_s=0.05).stdout_bytes < before + 20:
        pass
    counted = sandbox.output(exec_id, follow=False).split(b"\n")[:-1]
    assert counted == [b"%d" % number for number in range(1, len(counted) + 1)]


class Asking(threading.Thread):
    """Somebody who asks for a snapshot, and whom the daemon may die under."""

    def __init__(self, sandbox: RawSandbox, key: str) -> None:
        super().__init__()
        self._sandbox, self._key = sandbox, key
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self._sandbox.memory(self._key)
        except (Error, grpc.RpcError) as error:
            self.error = error


@pytest.mark.parametrize(
    "moment", ["before-pause", "after-pause", "before-checkpoint", "after-checkpoint", "before-resume", "after-resume"]
)
def test_daemon_killed_at_every_step(live: LiveCove, client: RawClient, hold: RunscHold, moment: str) -> None:
    source, counter = counting(client)
    with ending(source):
        listed = set(client.snapshots())
        with hold.holding(moment):
            asking = Asking(source, "the-key")
            hold.wait_reached(moment)
            live.kill("sandboxd")
        live.start("sandboxd")
        live.wait_ready()
        asking.join()
        counts_on(source, counter)
        assert set(client.snapshots()) == listed
        snapshot = source.memory("the-key")
        clone = client.restore(snapshot)
        with ending(clone):
            counts_on(clone, counter)
        assert set(client.snapshots()) == {*listed, snapshot.snapshot_id} and source.memory("the-key").image_id == snapshot.image_id


@pytest.mark.parametrize("moment", ["before-checkpoint", "after-checkpoint"])
def test_sentry_killed_in_the_middle(live: LiveCove, client: RawClient, hold: RunscHold, moment: str) -> None:
    source, _ = counting(client)
    listed = set(client.snapshots())
    with hold.holding(moment):
        asking = Asking(source, "key")
        hold.wait_reached(moment)
        os.kill(sentry_pid(live, source.sandbox_id), signal.SIGKILL)
    asking.join()
    assert asking.error is not None
    assert source.ended().reason == common_pb2.END_REASON_INTERNAL_FAILURE
    assert set(client.snapshots()) == listed


@pytest.mark.parametrize("moment", ["before-restore", "after-restore"])
def test_daemon_killed_in_the_middle_of_a_restore(live: LiveCove, client: RawClient, hold: RunscHold, moment: str) -> None:
    source, counter = counting(client)
    with ending(source):
        snapshot = source.memory()
        with hold.holding(moment):
            clone = client.restore(snapshot)
            hold.wait_reached(moment)
            live.kill("sandboxd")
        live.start("sandboxd")
        live.wait_ready()
        assert clone.ended().reason == common_pb2.END_REASON_INTERNAL_FAILURE
        counts_on(source, counter)
        second = client.restore(snapshot)
        with ending(second):
            counts_on(second, counter)


def test_a_restored_sandbox_survives_its_daemon(live: LiveCove, client: RawClient) -> None:
    source, counter = counting(client)
    with ending(source):
        clone = client.restore(source.memory())
        with ending(clone):
            counts_on(clone, counter)
            live.restart("sandboxd")
            counts_on(clone, counter)
            counts_on(source, counter)
            third = client.restore(clone.memory())
            with ending(third):
                counts_on(third, counter)


def test_damage_on_the_node_is_told_and_the_store_has_it_whole(live: LiveCove, client: RawClient) -> None:
    source, counter = counting(client)
    with ending(source):
        snapshot = source.memory()
        client.stored_snapshot(snapshot)
        place = memory_dir(live) / snapshot.snapshot_id
        for file in sorted(path for path in place.rglob("*") if path.is_file() and path.stat().st_size):
            whole = file.read_bytes()
            for damaged in (whole[:-1], bytes([whole[0] ^ 1]) + whole[1:]):
                file.write_bytes(damaged)
                with pytest.raises(DataLossError):
                    client.control.SnapshotVerify(snapshot_pb2.SnapshotVerifyRequest(snapshot_id=snapshot.snapshot_id))
                refused = client.restore(snapshot).ended()
                assert refused.reason == common_pb2.END_REASON_INTERNAL_FAILURE and "damaged" in refused.message, refused
            file.write_bytes(whole)
        shutil.rmtree(place)  # as on a node that never had it
        place.with_suffix(".json").unlink()
        clone = client.restore(snapshot)
        with ending(clone):
            counts_on(clone, counter)


def test_a_full_disk_refuses_and_the_source_runs_on(live: LiveCove, client: RawClient) -> None:
    source, counter = counting(client)
    with ending(source):
        listed = set(client.snapshots())
        with filled(live):
            with pytest.raises(Error) as caught:
                source.memory("key")
            assert caught.value.code == "exhausted", caught.value
            counts_on(source, counter)
        assert set(client.snapshots()) == listed
        source.memory("key")


@contextlib.contextmanager
def filled(live: LiveCove) -> Iterator[None]:
    """The node's pool has next to no room left."""
    pool = live.directory / "state" / "pool"
    filler = pool / "filler"
    with filler.open("wb") as file:
        taken = 0
        for piece in PIECES_BYTES:
            with contextlib.suppress(OSError):
                while taken < 2**40:
                    os.posix_fallocate(file.fileno(), taken, piece)
                    taken += piece
    try:
        yield
    finally:
        filler.unlink()
        while free_bytes(pool) < 2**30:
            os.sync()  # only then is there room again


def free_bytes(path: Path) -> int:
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def test_open_files_sockets_and_a_full_terminal(live: LiveCove, client: RawClient) -> None:
    source = client.ready()
    with ending(source):
        many = "import os\nfds = [os.open(f'/root/{n % 100}', os.O_RDWR | os.O_CREAT) for n in range(10000)]\nimport socket\n"
        many += "pairs = [socket.socketpair() for _ in range(500)]\nfor a, b in pairs: a.sendall(b'x' * 100)\nprint('open', flush=True)\n"
        many += "input()\nassert all(b.recv(200) == b'x' * 100 for a, b in pairs)\nos.write(fds[9999], b'w')\nprint(len(fds))\n"
        opener = source.start("python3", "-c", many)
        source.first_output(opener)
        shell = source.start("sh", "-c", "yes | head -c 3000000; sleep 1000", pty=data_pb2.PtySize(rows=24, columns=80))
        source.first_output(shell)
        clone = client.restore(source.memory())
        with ending(clone):
            for one in (clone, source):
                one.write(opener, 0, b"\n")
                assert one.wait(opener).exit_code == 0, one.output(opener, fd=2)
                assert one.output(opener) == b"open\n10000\n"
                while one.wait(shell, timeout_s=0.1).stdout_bytes < 4_500_000:  # each newline became two bytes
                    pass
                assert one.output(shell, follow=False).replace(b"y\r\n", b"") == b""


def test_one_that_has_ended_is_refused(client: RawClient) -> None:
    source = client.ready()
    source.terminate()
    source.ended()
    with pytest.raises(ConflictError):
        source.memory()
