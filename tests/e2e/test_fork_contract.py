"""docs/fork-contract.md, line by line: a source, a clone of it, and a program in both that tells what it sees."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import pytest

import cove
from cove.exception import ConflictError
from tests.support.live_fixtures import Sandboxes
from tests.support.outside import ADDRESS, outside

pytestmark = pytest.mark.timeout(180)

WITNESS: Final = """
import os, random, socket, sys, threading, time
random.seed(5)
listener = socket.create_server(("0.0.0.0", 8000))
inside = socket.create_connection(("127.0.0.1", 8000))
accepted, _ = listener.accept()
log = open("/tmp/log", "w")
print("kept", file=log, flush=True)
open("/dev/shm/kept", "w").write("in memory")
began, timer = time.monotonic(), threading.Timer(3600, print)
timer.start()
def echoed(data):
    inside.sendall(data)
    return accepted.recv(100)
def connected(host, port):
    global outside
    outside = socket.create_connection((host, port), 5)
def outside_says():
    outside.settimeout(5)
    return outside.recv(1)
for line in sys.stdin:
    try:
        print(repr(eval(line)), flush=True)
    except Exception as error:
        print(type(error).__name__, flush=True)
"""
"""Says what comes of each expression that it is sent."""


class Witness(msgspec.Struct):
    """The program in one sandbox."""

    sandbox: cove.Sandbox
    exec_id: str
    told: int = 0
    """How many lines it has said."""

    @classmethod
    def begin(cls, sandbox: cove.Sandbox) -> Witness:
        return cls(sandbox, sandbox.exec("python", "-c", WITNESS).exec_id)

    def tell(self, expression: str) -> str:
        process = self.sandbox.process(self.exec_id)
        process.stdin.write(expression + "\n")
        process.stdin.drain()
        self.told += 1
        lines = iter(process.stdout)
        return [next(lines) for _ in range(self.told)][-1].strip()

    def in_clone(self, clone: cove.Sandbox) -> Witness:
        return Witness(clone, self.exec_id, self.told)


class Pair(msgspec.Struct):
    """A source, and what was restored from it."""

    source: Witness
    clone: Witness
    shell: str
    """The exec id of a bash on a terminal."""
    ended: str
    """Of a command that had ended."""

    def both(self, expression: str) -> tuple[str, str]:
        return self.source.tell(expression), self.clone.tell(expression)


def said(sandbox: cove.Sandbox, *command: str) -> str:
    process = sandbox.exec(*command)
    output = process.stdout.read()
    assert process.wait() == 0, process.stderr.read()
    return output.strip()


def until(lines: Iterator[str], text: str) -> None:
    """Read on until a line has ``text``."""
    while text not in next(lines):
        pass


@pytest.fixture(scope="module")
def pair(app: cove.App) -> Iterator[Pair]:
    sandboxes = Sandboxes(app)
    source = sandboxes.create("sleep", "3600", block_network=False, env={"SECRET": "s3cret"}, timeout=1000)
    witness = Witness.begin(source)
    witness.tell("random.random()")
    shell = source.exec("bash", pty=True)
    shell.stdin.write("kept=41; sleep 1000 &\necho be''gun\n")
    shell.stdin.drain()
    until(iter(shell.stdout), "begun")
    ended = source.exec("sh", "-c", "echo gone; exit 3")
    assert ended.wait() == 3
    clone = sandboxes.keep(cove.Sandbox.from_snapshot(source.snapshot(), env={"ADDED": "later"}))
    said(clone, "true")
    yield Pair(witness, witness.in_clone(clone), shell.exec_id, ended.exec_id)
    sandboxes.end()


def test_ids_and_names(pair: Pair) -> None:
    source, clone = pair.source.sandbox, pair.clone.sandbox
    assert source.object_id != clone.object_id
    for sandbox in (source, clone):
        assert said(sandbox, "sh", "-c", "echo $COVE_SANDBOX_ID") == sandbox.object_id
        name = sandbox.object_id.lower()
        assert said(sandbox, "sh", "-c", "hostname; cat /etc/hostname; grep -c $(hostname) /etc/hosts").split() == [name, name, "1"]
    assert pair.both("socket.gethostname()") == (repr(source.object_id.lower()), repr(clone.object_id.lower()))


def test_addresses(pair: Pair) -> None:
    own = "socket.gethostbyname(socket.gethostname())"
    address = "(lambda s: (s.connect(('198.51.100.1', 9)), s.getsockname()[0])[1])(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))"
    (first, first_name), (second, second_name) = ((one.tell(address), one.tell(own)) for one in (pair.source, pair.clone))
    assert first == first_name and second == second_name and first != second


def test_processes_and_their_memory(pair: Pair) -> None:
    assert len({*pair.both("os.getpid()")}) == 1
    assert pair.both("(open('/dev/shm/kept').read(), open('/tmp/log').read(), log.name)") == ("('in memory', 'kept\\n', '/tmp/log')",) * 2
    assert pair.both("print('more', file=log, flush=True)") == ("None", "None")
    listing = [sorted(process.exec_id for process in one.sandbox.processes()) for one in (pair.source, pair.clone)]
    assert listing[0] == listing[1] and len(listing[0]) == 3  # the main one is there


def test_terminals_with_their_scroll_back_and_execs_that_ended(pair: Pair) -> None:
    for one in (pair.source, pair.clone):
        shell = one.sandbox.process(pair.shell)
        lines = iter(shell.stdout)
        until(lines, "begun")
        shell.stdin.write("echo $((kept+1)) $(jobs -r | wc -l) $(stty size); echo en''d\n")
        shell.stdin.drain()
        until(lines, "42 1 24 80")
        until(lines, "end")
        ended = one.sandbox.process(pair.ended)
        assert (ended.wait(), ended.stdout.read()) == (3, "gone\n")


def test_files_are_each_ones_own(pair: Pair) -> None:
    for number, one in enumerate((pair.source, pair.clone)):
        said(one.sandbox, "sh", "-c", f"echo {number} > /root/mine")
    assert [said(one.sandbox, "cat", "/root/mine") for one in (pair.source, pair.clone)] == ["0", "1"]
    assert said(pair.clone.sandbox, "ls", "-A", "/tmp") == "log"


def test_listening_sockets_and_connections_inside(pair: Pair) -> None:
    assert pair.both("echoed(b'still there')") == ("b'still there'",) * 2
    assert pair.both("socket.create_connection(('127.0.0.1', 8000), 5).getpeername()[1]") == ("8000", "8000")


def test_entropy_is_fresh_and_seeded_numbers_repeat(pair: Pair) -> None:
    assert len({*pair.both("os.urandom(16)")}) == 2
    assert len({said(one.sandbox, "sh", "-c", "head -c 16 /dev/urandom | od -An -tx1") for one in (pair.source, pair.clone)}) == 2
    assert len({*pair.both("random.random()")}) == 1


def test_clocks_and_timers(pair: Pair) -> None:
    first, second = (float(answer) for answer in pair.both("time.time()"))
    assert abs(first - second) < 10
    first, second = (float(answer) for answer in pair.both("time.monotonic() - began"))
    assert abs(first - second) < 10
    assert pair.both("timer.is_alive()") == ("True", "True")


def test_environment_and_secrets(pair: Pair) -> None:
    assert pair.both("os.environ['SECRET']") == ("'s3cret'",) * 2
    assert pair.both("os.environ.get('ADDED')") == ("None", "None")
    assert said(pair.clone.sandbox, "sh", "-c", "echo $SECRET $ADDED") == "s3cret later"
    assert said(pair.source.sandbox, "sh", "-c", "echo $SECRET $ADDED") == "s3cret"


def test_connections_to_the_outside_are_reset(sandboxes: Sandboxes, tmp_path: Path) -> None:
    """The outside is another network namespace of this machine, which the sandbox's packets reach as they would the internet."""
    with outside(tmp_path):
        source = Witness.begin(sandboxes.create(block_network=False))
        assert source.tell(f"connected('{ADDRESS}', 80)") == "None"
        clone = source.in_clone(sandboxes.keep(cove.Sandbox.from_snapshot(source.sandbox.snapshot())))
        for one in (source, clone):
            assert one.tell("outside_says()") in ("b''", "ConnectionAbortedError", "ConnectionResetError")
            assert one.tell(f"connected('{ADDRESS}', 80)") == "None"


def test_deleted_files_that_are_open_are_named(sandboxes: Sandboxes) -> None:
    source = Witness.begin(sandboxes.create())
    source.tell("globals().update(gone=open('/root/gone', 'w+')) or gone.write('x') and gone.flush() or os.unlink('/root/gone')")
    with pytest.raises(ConflictError, match="/root/gone"):
        source.sandbox.snapshot()
    assert source.tell("gone.seek(0), gone.read()") == "(0, 'x')"
    source.tell("gone.close()")
    clone = source.in_clone(sandboxes.keep(cove.Sandbox.from_snapshot(source.sandbox.snapshot())))
    assert clone.tell("1 + 1") == "2"


def test_the_lifetime_begins_anew_and_the_main_process_ends_the_clone(sandboxes: Sandboxes) -> None:
    source = sandboxes.create("sh", "-c", "read line; exit 7")
    clone = sandboxes.keep(cove.Sandbox.from_snapshot(source.snapshot(), timeout=77))
    assert clone.poll() is None
    clone.stdin.write("go\n")
    clone.stdin.drain()
    clone.wait()
    assert (clone.returncode, source.poll()) == (7, None)


def test_the_platform_socket_serves(pair: Pair) -> None:
    script = "import socket; s = socket.socket(socket.AF_UNIX); s.connect('/run/cove/api.sock'); s.sendall(b'x'); print('open')"
    assert [said(one.sandbox, "python", "-c", script) for one in (pair.source, pair.clone)] == ["open", "open"]
