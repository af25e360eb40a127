"""kill -9 of every part at every step: what lives goes on, what died is told with its reason, nothing is left behind."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cove.exception import ConflictError, ConnectionError, Error
from cove.wire import common_pb2, data_pb2, network_pb2
from tests.support.leaks import assert_holds, descriptors, gofer_pid, sentry_pid
from tests.support.live_cove import LiveCove
from tests.support.neighbour import echoing, neighbour
from tests.support.raw_client import RUNNING, RawClient, RawSandbox, ending
from tests.support.runsc_hold import RunscHold

COUNT = "i=0; while :; do i=$((i+1)); echo $i; [ $((i % 50)) = 0 ] && sleep 0.01; done"
"""Prints the numbers from 1, some thousands a second."""


@pytest.fixture(scope="module")
def live(held_live: LiveCove) -> LiveCove:
    return held_live


@pytest.fixture(autouse=True)
def nothing_left_behind(live: LiveCove, client: RawClient) -> Iterator[None]:
    """Every test ends its sandboxes, and then nothing may be left of any. In the place of the general check: daemons come and go here."""
    yield
    assert_holds(live)


def numbers(output: bytes) -> list[int]:
    return [int(line) for line in output.splitlines()]


# --- the node daemon ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["before-create", "after-create", "before-start", "after-start"])
def test_daemon_killed_while_a_sandbox_boots(live: LiveCove, client: RawClient, hold: RunscHold, moment: str) -> None:
    neighbour = client.ready()
    with ending(neighbour):
        with hold.holding(moment):
            sandbox = client.create("sleep", "100", network=network_pb2.NetworkPolicy())
            hold.wait_reached(moment)
            live.kill("sandboxd")
            if moment.startswith("before"):  # what runsc does for a dead daemon must not survive the clean-up, nor stop it
                live.start("sandboxd")
                live.wait_ready()
        if moment.startswith("after"):
            live.start("sandboxd")
            live.wait_ready()
        result = sandbox.ended()
        assert (result.reason, result.exit_code) == (common_pb2.END_REASON_INTERNAL_FAILURE, 137)
        assert "restarted while the sandbox was being started" in result.message


def test_terminated_at_any_moment_of_the_start(client: RawClient) -> None:
    """Also in the middle of `runsc create`, whose process dies with the sandbox's."""
    for delay_ms in range(0, 160, 8):
        sandbox = client.create()
        time.sleep(delay_ms / 1000)
        sandbox.terminate()
        assert sandbox.ended().reason == common_pb2.END_REASON_TERMINATED


def test_daemon_killed_right_after_admission(live: LiveCove, client: RawClient) -> None:
    sandboxes = [client.create() for _ in range(3)]
    live.restart("sandboxd")
    for sandbox in sandboxes:
        assert sandbox.ended().reason == common_pb2.END_REASON_INTERNAL_FAILURE
    with ending(client.ready()):
        pass


@pytest.mark.parametrize("moment", ["before-delete", "after-delete"])
def test_daemon_killed_while_a_sandbox_stops(live: LiveCove, client: RawClient, hold: RunscHold, moment: str) -> None:
    sandbox = client.ready(network=network_pb2.NetworkPolicy())
    exec_id = sandbox.start("sh", "-c", "echo last words; sleep 100")
    assert sandbox.first_output(exec_id) == b"last words\n"
    with hold.holding(moment):
        sandbox.terminate()
        hold.wait_reached(moment)
        live.kill("sandboxd")
    live.start("sandboxd")
    live.wait_ready()
    result = sandbox.ended()
    assert (result.reason, result.exit_code) == (common_pb2.END_REASON_TERMINATED, 137)
    assert sandbox.wait(exec_id).state == data_pb2.PROCESS_STATE_LOST
    assert sandbox.output(exec_id) == b"last words\n"


def test_daemon_killed_again_and_again_under_busy_processes(live: LiveCove, client: RawClient) -> None:
    sandbox, other = client.ready(env={"SECRET": "s3"}), client.ready("sleep", "100", network=network_pb2.NetworkPolicy())
    with ending(sandbox, other):
        counter = sandbox.start("sh", "-c", COUNT, exec_id="counter")
        terminal = sandbox.start("sh", pty=data_pb2.PtySize(rows=24, columns=80))
        ended = sandbox.start("sh", "-c", "echo bye; exit 3")
        assert sandbox.wait(ended).exit_code == 3
        at = sandbox.write(terminal, 0, b"v=kept\n")
        for _ in range(2):
            sandbox.first_output(counter)
            live.restart("sandboxd")
            assert sandbox.processes(ended=False).keys() == {counter, terminal}
        assert_holds(live, sandbox.sandbox_id, other.sandbox_id, networks=1)
        at = sandbox.write(terminal, at, b"echo $v $((6 * 7))\n")
        sandbox.write(terminal, at, b"exit 5\n")
        assert sandbox.wait(terminal).exit_code == 5
        assert b"\nkept 42\r\n" in sandbox.output(terminal)
        assert (sandbox.wait(ended).exit_code, sandbox.output(ended)) == (3, b"bye\n")
        assert sandbox.shell("echo $SECRET") == b"s3\n"
        sandbox.signal(counter, signal.SIGTERM)
        assert sandbox.wait(counter).exit_code == 143
        counted = numbers(sandbox.output(counter))
        assert counted == list(range(1, len(counted) + 1))
        assert len(counted) > 300
        assert other.status().state == RUNNING


def test_input_and_output_are_whole_across_a_kill(live: LiveCove, client: RawClient) -> None:
    """A writer that resumes where it is told to loses and repeats nothing, frames cut in the middle included."""
    sandbox = client.ready()
    blob = os.urandom(2**20) * 24
    with ending(sandbox):
        exec_id = sandbox.start("sh", "-c", "tee /tmp/copy")
        writer = threading.Thread(target=write_all, args=(sandbox, exec_id, blob))
        writer.start()
        for share in (0.2, 0.6):
            wait_output(sandbox, exec_id, share * len(blob))
            live.restart("sandboxd")
        writer.join(60)
        assert sandbox.output(exec_id) == blob
        assert sandbox.http("GET", "/tmp/copy") == blob


def wait_output(sandbox: RawSandbox, exec_id: str, size_bytes: float) -> None:
    """Return when the process has put out this much."""
    deadline = time.monotonic() + 30
    while (status := sandbox.wait(exec_id, 0.02)).stdout_bytes < size_bytes:
        assert time.monotonic() < deadline, status


def write_all(sandbox: RawSandbox, exec_id: str, blob: bytes) -> None:
    """Write ``blob`` and EOF, asking after every failure where to go on."""
    offset, sure = 0, True
    while offset < len(blob):
        with contextlib.suppress(ConnectionError):
            offset = offset if sure else sandbox.wait(exec_id, 0.0).stdin_offset
            piece = blob[offset : offset + 2**19]
            sure = False
            offset = sandbox.write(exec_id, offset, piece, eof=offset + len(piece) == len(blob))
            sure = True


def test_what_happened_while_the_daemon_was_away_is_told(live: LiveCove, client: RawClient) -> None:
    living, dying, expiring = client.ready(), client.ready(), client.ready(timeout_s=2)
    with ending(living):
        leaving = living.start("sh", "-c", "read line; head -c 3000000 /dev/zero; exit 4")
        mute = living.start("sleep", "100")
        lost = dying.start("sh", "-c", "echo here; sleep 100")
        assert dying.first_output(lost) == b"here\n"
        sentry = sentry_pid(live, dying.sandbox_id)
        living.write(leaving, 0, b"go\n", eof=True)
        live.kill("sandboxd")
        os.kill(sentry, signal.SIGKILL)
        expiring.outlive()  # while nobody looks
        live.start("sandboxd")
        live.wait_ready()
        assert living.wait(leaving).exit_code == 4
        assert living.output(leaving) == bytes(3_000_000)
        assert living.wait(mute, 0.0).state == data_pb2.PROCESS_STATE_RUNNING
        result = dying.ended()
        assert result.reason == common_pb2.END_REASON_INTERNAL_FAILURE
        assert "did not survive" in result.message
        assert (dying.wait(lost).exit_code, dying.output(lost)) == (137, b"here\n")
        result = expiring.ended()
        assert (result.reason, result.exit_code) == (common_pb2.END_REASON_TIMEOUT, 124)


# --- the router --------------------------------------------------------------------------------------------------------------------------


def test_router_killed_under_running_sandboxes(live: LiveCove, client: RawClient) -> None:
    sandbox, finishing = client.ready(name="kept"), client.ready("sh", "-c", "read line; exit 9")
    with ending(sandbox):
        counter = sandbox.start("sh", "-c", COUNT)
        live.kill("router")
        assert sandbox.shell("echo the node serves on") == b"the node serves on\n"
        finishing.write("main", 0, b"go\n")
        assert finishing.wait("main").exit_code == 9
        live.start("router")
        result = finishing.ended()
        assert (result.reason, result.exit_code) == (common_pb2.END_REASON_FAILURE, 9)
        assert sandbox.status().state == RUNNING
        sandbox.signal(counter, signal.SIGKILL)
        counted = numbers(sandbox.output(counter))
        assert counted == list(range(1, len(counted) + 1))
        with pytest.raises(Error, match="kept"):
            client.create(name="kept")


# --- the container -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", [sentry_pid, gofer_pid])
def test_sentry_or_gofer_killed(live: LiveCove, client: RawClient, part: object) -> None:
    sandbox, neighbour = client.ready(network=network_pb2.NetworkPolicy()), client.ready()
    with ending(neighbour):
        counter = neighbour.start("sh", "-c", COUNT)
        exec_id = sandbox.start("sh", "-c", "echo here; echo there >&2; sleep 100")
        assert (sandbox.first_output(exec_id), sandbox.first_output(exec_id, fd=2)) == (b"here\n", b"there\n")
        pid = sentry_pid(live, sandbox.sandbox_id) if part is sentry_pid else gofer_pid(live, sandbox.sandbox_id)
        os.kill(pid, signal.SIGKILL)
        result = sandbox.ended()
        assert (result.reason, result.exit_code) == (common_pb2.END_REASON_INTERNAL_FAILURE, 137)
        assert "died" in result.message
        assert sandbox.wait(exec_id).state == data_pb2.PROCESS_STATE_LOST
        assert (sandbox.output(exec_id), sandbox.output(exec_id, fd=2)) == (b"here\n", b"there\n")
        with pytest.raises(ConflictError) as caught:
            sandbox.start("true")
        assert caught.value.code == "sandbox_ended"
        assert_holds(live, neighbour.sandbox_id)
        assert neighbour.wait(counter, 0.0).state == data_pb2.PROCESS_STATE_RUNNING


@pytest.mark.parametrize("moment", ["after-create", "before-start"])
def test_sentry_killed_while_the_sandbox_boots(live: LiveCove, client: RawClient, hold: RunscHold, moment: str) -> None:
    with hold.holding(moment):
        sandbox = client.create("sleep", "100")
        hold.wait_reached(moment)
        os.kill(sentry_pid(live, sandbox.sandbox_id), signal.SIGKILL)
    result = sandbox.ended()
    assert (result.reason, result.exit_code) == (common_pb2.END_REASON_INTERNAL_FAILURE, 137)
    assert result.message


# --- clients -----------------------------------------------------------------------------------------------------------------------------


def test_client_gone_in_mid_stream_and_another_takes_over(live: LiveCove, client: RawClient) -> None:
    sandbox = client.ready()
    with ending(sandbox):
        counter = sandbox.start("sh", "-c", COUNT)
        reader = RawClient(live)
        stream = reader.data_stub.ProcessOutput(
            data_pb2.ProcessOutputRequest(sandbox_id=sandbox.sandbox_id, exec_id=counter, fd=1, follow=True),
            metadata=(("authorization", f"Bearer {sandbox.access.token}"),),
        )
        first = next(stream).data
        reader.close()
        before = descriptors(live.pid("sandboxd"))
        for _ in range(20):
            sandbox.first_output(counter)
        again = next(chunk for chunk in sandbox.chunks(counter, offset=len(first)) if chunk.data)
        assert again.offset == len(first)
        sandbox.signal(counter, signal.SIGTERM)
        counted = numbers(sandbox.output(counter))
        assert counted == list(range(1, len(counted) + 1))
        assert descriptors(live.pid("sandboxd")) <= before


def test_daemon_restarted_while_the_router_is_away(live: LiveCove, client: RawClient) -> None:
    sandbox = client.ready()
    with ending(sandbox):
        exec_id = sandbox.start("cat")
        live.kill("router")
        live.kill("sandboxd")
        live.start("sandboxd")
        write_all(sandbox, exec_id, b"still trusted")
        assert sandbox.output(exec_id) == b"still trusted"
        live.start("router")
        live.wait_ready()


# --- the network -------------------------------------------------------------------------------------------------------------------------

HOLD = """
import socket, sys
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=30)
for line in sys.stdin:
    connection.sendall(line.encode())
    print(connection.recv(100).decode(), end="", flush=True)
"""
REFUSED = "import socket, sys; sys.exit(socket.socket().connect_ex((sys.argv[1], int(sys.argv[2]))))"


def refusals(sandbox: RawSandbox) -> list[int]:
    """How often each kind of refusal is in the sandbox's log."""
    request = network_pb2.NetworkLogRequest(sandbox_id=sandbox.sandbox_id)
    records = [record for chunk in sandbox.data.stream("NetworkLog", request) for record in chunk.records]
    return [record.count for record in records if record.verdict == network_pb2.NETWORK_VERDICT_DENIED]


def refused(sandbox: RawSandbox, wanted: list[int]) -> None:
    """Pass once the log has these counts: records come some milliseconds after refusals."""
    deadline = time.monotonic() + 10
    while refusals(sandbox) != wanted:
        assert time.monotonic() < deadline, refusals(sandbox)
        time.sleep(0.02)


def test_a_policy_its_connections_and_its_log_outlive_the_daemon(live: LiveCove, client: RawClient, tmp_path: Path) -> None:
    with neighbour(tmp_path) as there, echoing(there) as port:
        policy = network_pb2.NetworkPolicy(mode=network_pb2.NETWORK_MODE_ALLOWLIST, cidrs=[there.address])
        sandbox = client.ready(network=policy)
        with ending(sandbox):
            held = sandbox.start("python3", "-c", HOLD, there.address, str(port))
            offset = sandbox.write(held, 0, b"one\n")
            assert sandbox.first_output(held) == b"one\n"
            assert sandbox.run("python3", "-c", REFUSED, there.other, str(port)).exit_code == errno.ECONNREFUSED
            refused(sandbox, [1])
            written = live.directory / "state" / "node" / "sandboxes" / sandbox.sandbox_id / "network.log"
            deadline = time.monotonic() + 10
            while not (written.exists() and b"not_listed" in written.read_bytes()):
                assert time.monotonic() < deadline
                time.sleep(0.02)
            live.restart("sandboxd")
            sandbox.write(held, offset, b"two\n", eof=True)
            assert sandbox.wait(held).exit_code == 0
            assert sandbox.output(held) == b"one\ntwo\n"
            assert sandbox.run("python3", "-c", REFUSED, there.other, str(port)).exit_code == errno.ECONNREFUSED
            refused(sandbox, [2])
