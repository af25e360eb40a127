"""Programs that take all they can get: their sandbox fails with a clear error, the node and its neighbours do not notice."""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cove.exception import Error, FilesystemExecutionError
from cove.wire import common_pb2, data_pb2
from sandboxd.settings import NodeSettings
from tests.e2e.conftest import Make
from tests.support.leaks import peak_bytes
from tests.support.live_cove import LiveCove
from tests.support.raw_client import RawSandbox

MIB = 2**20
TICKS = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done"


@pytest.fixture
def neighbour(make: Make) -> Iterator[RawSandbox]:
    """A sandbox with a process that counts; at the end of the test it has gone on counting without a gap, and still answers."""
    sandbox = make()
    exec_id = sandbox.start("sh", "-c", TICKS)
    yield sandbox
    assert sandbox.run("true").exit_code == 0
    status = sandbox.wait(exec_id, timeout_s=0.0)
    assert status.state == data_pb2.PROCESS_STATE_RUNNING
    counted = sandbox.output(exec_id, follow=False).split()
    assert counted == [b"%d" % number for number in range(1, len(counted) + 1)] and counted


def test_a_full_disk_is_the_sandboxs_own(make: Make, neighbour: RawSandbox) -> None:
    sandbox = make(disk_limit_bytes=64 * MIB)
    fill = sandbox.start("dd", "if=/dev/zero", "of=/root/big", "bs=1M", "count=200")
    assert sandbox.wait(fill).exit_code == 1
    assert re.search(rb"No space left|Disk quota exceeded", sandbox.output(fill, fd=2))
    size = int(sandbox.shell("stat -c %s /root/big"))
    assert 32 * MIB <= size <= 64 * MIB

    with pytest.raises(FilesystemExecutionError, match=r"(?i)space|quota"):
        opened = sandbox.data.FileOpen(data_pb2.FileOpenRequest(sandbox_id=sandbox.sandbox_id, path=b"/root/more", flags=2 | 4))
        for _ in range(8):
            request = data_pb2.FileWriteRequest(sandbox_id=sandbox.sandbox_id, handle=opened.handle, data=os.urandom(MIB), flush=True)
            sandbox.data.FileWrite(request)

    neighbour.shell("dd if=/dev/zero of=/root/big bs=1M count=100 conv=fsync && rm /root/big")
    # Space that is freed can be used again. The file system counts it when it gets to it.
    sandbox.shell("rm /root/big; sync")
    deadline = time.monotonic() + 30
    while sandbox.run("dd", "if=/dev/zero", "of=/root/big", "bs=1M", "count=20").exit_code != 0:
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_out_of_memory_ends_one_sandbox_alone(make: Make, neighbour: RawSandbox) -> None:
    sandbox = make(memory_request_bytes=64 * MIB, memory_limit_bytes=128 * MIB)
    process = sandbox.start("python3", "-c", "print('growing', flush=True); x = bytearray(600 << 20)")
    result = sandbox.ended()
    assert (result.reason, result.exit_code) == (common_pb2.END_REASON_OUT_OF_MEMORY, 137)
    assert "128 MiB" in result.message
    assert sandbox.output(process) == b"growing\n"


def test_a_fork_bomb_stays_below_its_limit(make: Make, neighbour: RawSandbox) -> None:
    sandbox = make(max_tasks=64)
    bomb = sandbox.start("bash", "-c", "bomb() { bomb | bomb & }; bomb; sleep 60")
    begin = time.monotonic()
    while time.monotonic() - begin < 2:
        assert neighbour.run("true").exit_code == 0
    # Whether there is room for one more process is luck; that there is an answer, and a clear one, is not.
    try:
        sandbox.run("true")
    except Error as error:
        assert re.search("(?i)processes|tasks|resource", str(error)), error
    sandbox.data.ProcessSignal(data_pb2.ProcessSignalRequest(sandbox_id=sandbox.sandbox_id, exec_id=bomb, signal=9, tree=True))
    sandbox.wait(bomb)
    deadline = time.monotonic() + 20
    while True:
        try:
            assert sandbox.shell("ls /proc | grep -c '^[0-9]'").strip() < b"9"
            break
        except (Error, AssertionError):
            assert time.monotonic() < deadline
            time.sleep(0.2)


def test_output_that_nobody_reads_costs_bounded_memory_and_disk(live: LiveCove, make: Make, neighbour: RawSandbox) -> None:
    """The beginning and the end are kept, the whole is counted, the process is never held up."""
    total = 1536 * MIB
    script = f"import os\nos.write(1, b'first')\nfor _ in range({total // MIB}): os.write(1, b'x' * {MIB})\nos.write(1, b'last')"
    sandbox = make()
    before = peak_bytes(live.pid("sandboxd"))
    process = sandbox.start("python3", "-c", script)
    assert sandbox.wait(process, timeout_s=60).exit_code == 0
    assert peak_bytes(live.pid("sandboxd")) - before < 64 * MIB
    kept = NodeSettings().spool_head_bytes + NodeSettings().spool_tail_bytes
    assert _disk_bytes(live.directory / "state", sandbox.sandbox_id) < kept + 16 * MIB

    read, first, last, end = 0, b"", b"", 0
    for chunk in sandbox.chunks(process):
        read, first, last, end = read + len(chunk.data), first or chunk.data, chunk.data or last, chunk.offset
    assert (first[:6], last[-5:], end) == (b"firstx", b"xlast", total + len(b"firstlast"))
    assert 0 < read <= kept


def test_a_hundred_thousand_files(live: LiveCove, make: Make, neighbour: RawSandbox) -> None:
    count = 100_000
    sandbox = make()
    script = f"import os\nos.mkdir('/root/many')\nfor n in range({count}): os.mknod('/root/many/%06d' % n)"
    made = sandbox.start("python3", "-c", script)
    assert sandbox.wait(made, timeout_s=60).exit_code == 0
    before = peak_bytes(live.pid("sandboxd"))
    names: list[str] = []
    for answer in sandbox.data.FileList(data_pb2.FileListRequest(sandbox_id=sandbox.sandbox_id, path=b"/root/many")):
        names += [entry.name for entry in answer.entries]
    assert names == [f"{number:06}" for number in range(count)]
    assert peak_bytes(live.pid("sandboxd")) - before < 64 * MIB


@pytest.mark.parametrize(
    "garbage",
    [b"\0" * 4096, b"\xff" * 100_000, secrets.token_bytes(50_000), b"GET / HTTP/1.1\r\n\r\n" * 5000, bytes(range(256)) * 4],
    ids=["zeros", "ones", "random", "text", "count"],
)
def test_a_guest_that_sends_garbage(live: LiveCove, make: Make, neighbour: RawSandbox, garbage: bytes) -> None:
    """As a guest that an attacker has taken over would: what comes out of the sandbox is nobody's but its own."""
    sandbox = make()
    process = sandbox.start("sleep", "100")
    _send_as_guest(live, sandbox, garbage)
    result = sandbox.ended()
    assert result.reason == common_pb2.END_REASON_INTERNAL_FAILURE
    assert result.message
    assert sandbox.wait(process).state == data_pb2.PROCESS_STATE_LOST


def _send_as_guest(live: LiveCove, sandbox: RawSandbox, data: bytes) -> None:
    descriptor = os.open(live.directory / "run/sandboxes" / sandbox.sandbox_id / "from-guest", os.O_WRONLY)
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    finally:
        os.close(descriptor)


def _disk_bytes(directory: Path, sandbox_id: str) -> int:
    """What the files of one sandbox's journal and spools take."""
    files = [path for path in directory.rglob("*") if sandbox_id in path.parts and "pool" not in path.parts and path.is_file()]
    assert files
    return sum(path.stat().st_blocks * 512 for path in files)
